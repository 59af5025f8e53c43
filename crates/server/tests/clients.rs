//! DHCP and router advertisements against the clients that Linux systems have, over a cable between two private
//! network namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/segment.rs"]
mod segment;

use std::net::Ipv4Addr;
use std::time::Duration;

use bootgate_events::EventKind;
use bootgate_server::{Bootfiles, MachineBoot, MachineConfig, ScriptBoot, ServerConfig};
use bootgate_testkit::{require_commands, skip};
use common::{Facts, MAC};
use segment::{CLIENT, Segment, in_namespaces};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 59);

fn config() -> ServerConfig {
    let mut config = ServerConfig::new(Ipv4Addr::new(10, 77, 0, 1), 24, FIRST..=LAST);
    config.services.ra = false;
    config
}

/// The messages so far, in order.
fn messages(facts: &Facts) -> Vec<String> {
    let message = |kind| match kind {
        EventKind::DhcpReceived { mac: MAC, facts }
        | EventKind::DhcpSent {
            mac: MAC, facts, ..
        } => Some(facts.message),
        _ => None,
    };
    facts.kinds().into_iter().filter_map(message).collect()
}

/// Waits until this message came in or went out as often as this.
async fn message(facts: &Facts, name: &str, count: usize) {
    facts
        .wait(name, |_| {
            let all = messages(facts);
            (all.iter().filter(|message| *message == name).count() >= count).then_some(())
        })
        .await;
}

/// Values a client's script wrote as `NAME=VALUE` lines.
fn value(text: &str, name: &str) -> String {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim_matches('\'')
        .to_owned()
}

fn in_pool(text: &str) -> bool {
    text.parse()
        .is_ok_and(|ip: Ipv4Addr| (FIRST..=LAST).contains(&ip))
}

/// Runs udhcpc until it is bound; what its script was told.
async fn udhcpc(segment: &Segment, more: &[&str]) -> String {
    let told = segment.folder.path().join("udhcpc.env");
    let script = format!("if [ \"$1\" = bound ]; then env > {}; fi", told.display());
    let script = segment.script("udhcpc.sh", &script);
    let command = [
        "udhcpc", "-i", CLIENT, "-f", "-n", "-q", "-t", "8", "-T", "1", "-s", &script,
    ];
    segment.client(&[&command, more].concat()).await;
    std::fs::read_to_string(told).expect("udhcpc was bound")
}

/// Runs udhcpc until its script was told of the address, then ends it, upon which it gives the address back. (With its
/// own option to end when bound, it does not.)
async fn udhcpc_until_bound_then_stop(segment: &Segment) -> String {
    let told = segment.folder.path().join("udhcpc.fifo");
    let fifo = told.to_str().unwrap().to_owned();
    assert!(common::run("mkfifo", &[&fifo]).await.status.success());
    let script = format!(
        "[ \"$1\" = bound ] || exit 0\nip addr replace $ip/24 dev $interface\nenv > {fifo}"
    );
    let script = segment.script("udhcpc.sh", &script);
    let command = ["udhcpc", "-i", CLIENT, "-f", "-R", "-s", &script];
    let mut client = segment.start_client(&command);
    let told = tokio::task::spawn_blocking(move || std::fs::read_to_string(told).unwrap());
    let told = told.await.unwrap();
    let pid = client.id().expect("udhcpc runs").to_string();
    assert!(common::run("kill", &[&pid]).await.status.success());
    client.wait().await.expect("udhcpc ends");
    told
}

#[test]
fn udhcpc_gets_an_address_and_gives_it_back() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    let ran = in_namespaces(|| async {
        let mut config = config();
        config.router = Some(Ipv4Addr::new(10, 77, 0, 254));
        let segment = Segment::start(config).await;
        let told = udhcpc_until_bound_then_stop(&segment).await;
        assert!(in_pool(&value(&told, "ip")), "{told}");
        assert_eq!(value(&told, "subnet"), "255.255.255.0");
        assert_eq!(value(&told, "serverid"), "10.77.0.1");
        assert_eq!(value(&told, "router"), "10.77.0.254");
        assert_eq!(value(&told, "lease"), "3600");
        message(&segment.facts, "release", 1).await;
        let expected = ["discover", "offer", "request", "ack", "release"];
        assert_eq!(messages(&segment.facts), expected);
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn udhcpc_declines_an_address_that_somebody_has() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    let ran = in_namespaces(|| async {
        let segment = Segment::start(config()).await;
        let taken = common::run("ip", &["addr", "add", "10.77.0.52/32", "dev", "srv0"]).await;
        assert!(taken.status.success());
        let told = udhcpc(&segment, &["-r", "10.77.0.52", "-a"]).await;
        let ip = value(&told, "ip");
        assert!(in_pool(&ip) && ip != "10.77.0.52", "{ip}");
        let all = messages(&segment.facts);
        assert!(all.contains(&"decline".to_owned()), "{all:?}");
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn udhcpc_as_firmware_is_told_its_boot_program() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    let ran = in_namespaces(|| async {
        let segment = Segment::start(config()).await;
        let boot = ScriptBoot {
            kernel: bootgate_server::ArtifactName::new("vmlinuz").unwrap(),
            initrds: Vec::new(),
            cmdline: String::new(),
            plan: bootgate_api::BootPlan::Stay,
            expected_chunks: None,
            expected_size: None,
            custom_script: None,
        };
        let machine = MachineConfig {
            mac: MAC,
            boot: MachineBoot::Script(Box::new(boot)),
            nbp: Bootfiles::pc(
                Some("undionly.kpxe".to_owned()),
                Some("snponly.efi".to_owned()),
            ),
            loader: None,
            faults: Vec::new(),
        };
        segment.server.machines().arm(machine, "nonce".into());
        for (arch, class, file) in [
            (
                "0x5d:0007",
                "PXEClient:Arch:00007:UNDI:003016",
                "snponly.efi",
            ),
            (
                "0x5d:0000",
                "PXEClient:Arch:00000:UNDI:002001",
                "undionly.kpxe",
            ),
        ] {
            let told = udhcpc(&segment, &["-x", arch, "-V", class, "-O", "bootfile"]).await;
            assert_eq!(value(&told, "siaddr"), "10.77.0.1");
            let file_field = told.lines().any(|line| line == format!("boot_file={file}"));
            let option = told
                .lines()
                .any(|line| line.starts_with(&format!("bootfile={file}")));
            assert!(file_field || option, "{told}");
        }
        segment.server.machines().boot_disk_only(MAC);
        let class = "PXEClient:Arch:00007:UNDI:003016";
        let told = udhcpc(
            &segment,
            &["-x", "0x5d:0007", "-V", class, "-O", "bootfile"],
        )
        .await;
        assert!(in_pool(&value(&told, "ip")));
        assert!(!told.contains("snponly"), "{told}");
        let all = segment.facts.all();
        let sent = all
            .iter()
            .find(|fact| fact.kind.name() == "dhcp-sent")
            .unwrap();
        assert_eq!(
            (sent.mac, sent.attempt.clone()),
            (Some(MAC), Some("nonce".into()))
        );
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

struct Dhclient {
    leases: String,
    pid: String,
    script: String,
    told: std::path::PathBuf,
}

impl Dhclient {
    fn new(segment: &Segment) -> Self {
        let path = |name: &str| {
            segment
                .folder
                .path()
                .join(name)
                .to_str()
                .unwrap()
                .to_owned()
        };
        let told = segment.folder.path().join("dhclient.env");
        let script = format!(
            "case \"$reason\" in\n\
             BOUND|REBOOT|RENEW) ip addr replace $new_ip_address/24 dev {CLIENT}; env > {told};;\n\
             esac\n",
            told = told.display()
        );
        Self {
            leases: path("dhclient.leases"),
            pid: path("dhclient.pid"),
            script: segment.script("dhclient.sh", &script),
            told,
        }
    }

    async fn run(&self, segment: &Segment, how: &str) -> String {
        let command = [
            "dhclient",
            "-4",
            how,
            "-cf",
            "/dev/null",
            "-sf",
            &self.script,
        ];
        let files = ["-lf", &self.leases, "-pf", &self.pid, CLIENT];
        segment.client(&[&command[..], &files].concat()).await
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.told).expect("dhclient was bound")
    }
}

#[test]
fn dhclient_gets_renews_keeps_and_releases_its_address() {
    require_commands!("unshare", "nsenter", "ip", "dhclient");
    let ran = in_namespaces(|| async {
        let mut config = config();
        config.lease = Duration::from_secs(8);
        let segment = Segment::start(config).await;
        let client = Dhclient::new(&segment);
        client.run(&segment, "-1").await;
        let told = client.told();
        let ip = value(&told, "new_ip_address");
        assert!(in_pool(&ip), "{told}");
        assert_eq!(value(&told, "new_dhcp_server_identifier"), "10.77.0.1");
        assert_eq!(
            messages(&segment.facts),
            ["discover", "offer", "request", "ack"]
        );
        // It asks again by itself, from its address, at half of the lease.
        message(&segment.facts, "ack", 2).await;
        assert_eq!(messages(&segment.facts)[4..], ["request", "ack"]);
        // Restarted within its lease, it asks for the same address at once (INIT-REBOOT).
        client.run(&segment, "-x").await;
        client.run(&segment, "-1").await;
        assert_eq!(value(&client.told(), "new_ip_address"), ip);
        let before = messages(&segment.facts);
        assert!(!before[4..].contains(&"discover".to_owned()), "{before:?}");
        client.run(&segment, "-r").await;
        message(&segment.facts, "release", 1).await;
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn dhclient_gives_up_an_address_of_another_network() {
    require_commands!("unshare", "nsenter", "ip", "dhclient");
    let ran = in_namespaces(|| async {
        let segment = Segment::start(config()).await;
        let client = Dhclient::new(&segment);
        let lease = format!(
            "lease {{\n interface \"{CLIENT}\";\n fixed-address 192.168.9.9;\n\
             option subnet-mask 255.255.255.0;\n option dhcp-lease-time 86400;\n\
             option dhcp-message-type 5;\n option dhcp-server-identifier 192.168.9.1;\n\
             renew never;\n rebind never;\n expire never;\n}}\n"
        );
        std::fs::write(&client.leases, lease).unwrap();
        client.run(&segment, "-1").await;
        assert!(in_pool(&value(&client.told(), "new_ip_address")));
        let all = messages(&segment.facts);
        assert_eq!(
            all,
            ["request", "nak", "discover", "offer", "request", "ack"]
        );
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn dhcpcd_gets_an_address_and_keeps_it_when_restarted() {
    require_commands!("unshare", "nsenter", "ip", "dhcpcd");
    let ran = in_namespaces(|| async {
        let segment = Segment::start(config()).await;
        for folder in ["/run", "/var/lib/dhcpcd"] {
            let mounted = common::run("mount", &["-t", "tmpfs", "tmpfs", folder]).await;
            assert!(mounted.status.success(), "{folder}: {mounted:?}");
        }
        let told = segment.folder.path().join("dhcpcd.env");
        let script = segment.script("dhcpcd.sh", &format!("env >> {}", told.display()));
        let command = [
            "dhcpcd",
            "-4",
            "-1",
            "-B",
            "-A",
            "-t",
            "20",
            "-f",
            "/dev/null",
            "-c",
            &script,
            CLIENT,
        ];
        segment.client(&command).await;
        let text = std::fs::read_to_string(&told).expect("dhcpcd called its script");
        let ip = value(&text, "new_ip_address");
        assert!(in_pool(&ip), "{text}");
        let first = messages(&segment.facts);
        assert!(
            first.ends_with(&["request".to_owned(), "ack".to_owned()]),
            "{first:?}"
        );
        std::fs::remove_file(&told).unwrap();
        segment.client(&command).await;
        let text = std::fs::read_to_string(&told).expect("dhcpcd called its script");
        assert_eq!(value(&text, "new_ip_address"), ip);
        let second = &messages(&segment.facts)[first.len()..];
        assert!(
            second.ends_with(&["request".to_owned(), "ack".to_owned()]),
            "{second:?}"
        );
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn the_kernels_router_solicitation_is_answered_by_no_router() {
    require_commands!("unshare", "nsenter", "ip");
    let ran = in_namespaces(|| async {
        let mut config = config();
        config.services.ra = true;
        let segment = Segment::start(config).await;
        let mac = segment
            .facts
            .wait("router advertisement", |fact| match fact.kind {
                EventKind::RouterAdvertised { mac } => Some(mac),
                _ => None,
            })
            .await;
        assert_eq!(mac, MAC);
        let routes = segment
            .client(&["ip", "-6", "route", "show", "default"])
            .await;
        assert_eq!(routes, "", "lifetime 0 makes no default router");
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}
