//! What is wrong on a network segment, as a boot client sees it.

mod boot;
mod fetch;
mod relay;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use bootgate_events::MacAddr;
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::dhcp::SERVER_PORT;
use serde_json::{Value, json};

use crate::args::{DoctorArgs, Format};
use crate::exit::{self, INFRA};
use crate::segment::{Answer, Question, Station};
use crate::serve::holders::holders;

/// The clients that are played: a name, the architecture of option 93, and the vendor class (RFC 4578, UEFI 2.x HTTP
/// Boot). The first is an operating system.
const CLIENTS: [(&str, Option<u16>, Option<&str>); 4] = [
    ("system", None, None),
    ("BIOS", Some(0), Some("PXEClient:Arch:00000:UNDI:002001")),
    ("UEFI", Some(7), Some("PXEClient:Arch:00007:UNDI:003016")),
    (
        "UEFI HTTP Boot",
        Some(16),
        Some("HTTPClient:Arch:00016:UNDI:003016"),
    ),
];
/// Places in [`CLIENTS`].
const BIOS: usize = 1;
const UEFI: usize = 2;
const HTTP: usize = 3;
/// Exit code where something is wrong.
const WRONG: u8 = 1;
/// Largest packet of plain Ethernet.
const ETHERNET_MTU: u16 = 1500;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// As it should be.
    Good,
    /// Worth knowing, or not tried.
    Note,
    /// Machines will not boot, or not always.
    Fault,
}

impl Level {
    fn sign(self) -> &'static str {
        match self {
            Level::Good => "ok  ",
            Level::Note => "note",
            Level::Fault => "FAIL",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Fault => "fault",
        }
    }
}

/// One thing that was found.
#[derive(Debug)]
struct Finding {
    level: Level,
    about: &'static str,
    text: String,
    remedy: String,
}

/// What was found, in order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, about: &'static str, text: String) {
        self.add(Level::Good, about, text, "");
    }

    fn note(&mut self, about: &'static str, text: String, remedy: &str) {
        self.add(Level::Note, about, text, remedy);
    }

    fn fault(&mut self, about: &'static str, text: String, remedy: &str) {
        self.add(Level::Fault, about, text, remedy);
    }

    fn add(&mut self, level: Level, about: &'static str, text: String, remedy: &str) {
        let remedy = remedy.to_owned();
        let known = self
            .0
            .iter()
            .any(|finding| finding.about == about && finding.text == text);
        if !known {
            self.0.push(Finding {
                level,
                about,
                text,
                remedy,
            });
        }
    }

    fn wrong(&self) -> bool {
        self.0.iter().any(|finding| finding.level == Level::Fault)
    }
}

/// A DHCP server of the segment.
#[derive(Clone, Debug)]
struct Server {
    mac: MacAddr,
    /// Whether it gives out addresses.
    full: bool,
    /// Its answers, by the place of the client in [`CLIENTS`].
    answers: BTreeMap<usize, Answer>,
}

/// All there is to look at.
struct Segment<'a> {
    station: &'a Station,
    /// This host's own address on the interface, where it has one.
    own: Option<Ipv4Addr>,
    servers: BTreeMap<Ipv4Addr, Server>,
    /// Programs of this host that have the DHCP servers' port: what they say is not heard here.
    here: Vec<String>,
    wait: Duration,
}

/// Plays clients on the segment, and says what is wrong there.
pub(super) fn doctor(interface: &str, args: &DoctorArgs) -> ExitCode {
    let station = match Station::open(interface) {
        Ok(station) => station,
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "run as root, or with the capability NET_RAW",
                _ => "list this host's interfaces with: ip link",
            };
            return exit::fail(INFRA, &format!("look at `{interface}`: {error}"), hint);
        }
    };
    if !station.interface.up {
        let error = format!("look at `{interface}`: it is down");
        return exit::fail(INFRA, &error, &format!("ip link set {interface} up"));
    }
    let mut findings = Findings::default();
    match look(&station, Duration::from_secs(args.wait), &mut findings) {
        Ok(servers) => say(interface, &servers, &findings, args.format),
        Err(error) => {
            return exit::fail(INFRA, &format!("look at `{interface}`: {error}"), "");
        }
    }
    ExitCode::from(if findings.wrong() { WRONG } else { 0 })
}

fn look(
    station: &Station,
    wait: Duration,
    findings: &mut Findings,
) -> io::Result<BTreeMap<Ipv4Addr, Server>> {
    let questions = [0, 1, 2, 3].map(|place: u8| {
        let (_, arch, class) = CLIENTS[usize::from(place)];
        Question::new(station.made_up(place), arch, class)
    });
    let answers = station.answers(&questions, wait)?;
    link(station, !answers.is_empty(), findings)?;
    let segment = Segment {
        station,
        own: station
            .interface
            .addresses
            .first()
            .map(|(address, _)| *address),
        servers: servers(answers),
        here: holders(SERVER_PORT, false),
        wait,
    };
    who_serves(&segment, findings);
    relay::answers(&segment, findings);
    if segment.own.is_none() {
        let name = &station.interface.name;
        let text = format!(
            "`{name}` has no address: port 4011, files, packet size and relays are not tried"
        );
        let remedy = format!("ip address add ADDRESS/PREFIX dev {name}");
        findings.note("address", text, &remedy);
    }
    boot::offers(&segment, findings)?;
    relay::as_relay(&segment, findings)?;
    Ok(segment.servers)
}

/// Looks at this host's end of the cable. Its carrier is looked at when answers had time to come: the kernel takes a second
/// to tell of one.
fn link(station: &Station, answered: bool, findings: &mut Findings) -> io::Result<()> {
    let interface = HostInterface::open(&station.interface.name)?;
    let (name, mtu) = (&interface.name, interface.mtu()?);
    if !interface.running && !answered {
        let text = format!("`{name}` has no carrier");
        findings.fault("link", text, "plug the cable in, or switch the port on");
    }
    if mtu < ETHERNET_MTU {
        let text = format!("`{name}` takes packets of `{mtu}` bytes at most (MTU)");
        let remedy =
            format!("firmware sends and takes packets of 1500 bytes: ip link set {name} mtu 1500");
        findings.fault("mtu", text, &remedy);
    }
    Ok(())
}

/// The servers by their addresses.
fn servers(answers: Vec<(usize, Answer)>) -> BTreeMap<Ipv4Addr, Server> {
    let mut servers: BTreeMap<Ipv4Addr, Server> = BTreeMap::new();
    for (client, answer) in answers {
        let server = servers.entry(answer.server()).or_insert_with(|| Server {
            mac: answer.mac,
            full: false,
            answers: BTreeMap::new(),
        });
        server.full |= !answer.facts.is_proxy();
        server.answers.entry(client).or_insert(answer);
    }
    servers
}

/// Exactly one server gives out addresses.
fn who_serves(segment: &Segment<'_>, findings: &mut Findings) {
    let full: Vec<String> = segment
        .servers
        .iter()
        .filter(|(_, server)| server.full)
        .map(|(address, server)| format!("{address} ({})", server.mac))
        .collect();
    match full.as_slice() {
        [] if !segment.here.is_empty() => findings.note(
            "dhcp",
            format!("no DHCP server is heard that gives out addresses; {} on this host may do so", segment.here.join(" and ")),
            "a host does not hear its own servers this way: run this on another host of the segment",
        ),
        [] if segment.servers.is_empty() => findings.fault(
            "dhcp",
            "no DHCP server answers".to_owned(),
            "start one: bootgate serve with dhcp = \"full\"; or find out what drops DHCP here: a switch with DHCP snooping, a firewall, another VLAN",
        ),
        [] => findings.fault(
            "dhcp",
            "nobody gives out addresses: there are only boot servers beside a DHCP server that does not answer".to_owned(),
            "start the DHCP server again, or bootgate serve with dhcp = \"full\"",
        ),
        [one] => findings.good("dhcp", format!("{one} gives out addresses")),
        several => findings.fault(
            "dhcp",
            format!("{} DHCP servers give out addresses: {}", several.len(), several.join(", ")),
            "one of them does not belong here: look for its hardware address in the switch's table and switch it off",
        ),
    }
}

fn say(interface: &str, servers: &BTreeMap<Ipv4Addr, Server>, findings: &Findings, format: Format) {
    if format == Format::Json {
        return exit::say(&json_report(interface, servers, findings).to_string());
    }
    for finding in &findings.0 {
        exit::say(&format!(
            "{}  {:<7}  {}",
            finding.level.sign(),
            finding.about,
            finding.text
        ));
        if !finding.remedy.is_empty() {
            exit::say(&format!("      {:<7}  do: {}", "", finding.remedy));
        }
    }
    exit::say(if findings.wrong() {
        "\nmachines on this segment will have trouble booting; see above"
    } else {
        "\nnothing is wrong on this segment"
    });
}

fn json_report(
    interface: &str,
    servers: &BTreeMap<Ipv4Addr, Server>,
    findings: &Findings,
) -> Value {
    let servers: Vec<Value> = servers
        .iter()
        .map(|(address, server)| {
            let offers: Vec<Value> = server
                .answers
                .iter()
                .map(|(client, answer)| {
                    let facts = &answer.facts;
                    json!({
                        "to": CLIENTS[*client].0,
                        "address": (!facts.is_proxy()).then_some(facts.yiaddr),
                        "next_server": (!facts.siaddr.is_unspecified()).then_some(facts.siaddr),
                        "bootfile": facts.bootfile,
                    })
                })
                .collect();
            json!({
                "address": address,
                "mac": server.mac,
                "kind": if server.full { "full" } else { "proxy" },
                "offers": offers,
            })
        })
        .collect();
    let findings: Vec<Value> = findings
        .0
        .iter()
        .map(|finding| {
            json!({
                "level": finding.level.name(),
                "about": finding.about,
                "text": finding.text,
                "remedy": finding.remedy,
            })
        })
        .collect();
    json!({ "interface": interface, "servers": servers, "findings": findings })
}
