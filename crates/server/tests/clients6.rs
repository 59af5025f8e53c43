//! DHCPv6 and router advertisements against the clients that Linux systems have, over a cable between two private
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
#[path = "common/segment6.rs"]
mod segment6;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bootgate_events::{EventKind, MacAddr};
use bootgate_netboot::dhcp::DhcpLimits;
use bootgate_netboot::dhcp::{DhcpConfig, Responder};
use bootgate_netboot::policy::ArchTable;
use bootgate_server::{BootServer, Shared, SharedParts, SocketSource, dhcp6_responder};
use bootgate_store::Store;
use bootgate_store::sqlite::Sqlite;
use bootgate_testkit::{require_commands, skip};
use common::{Facts, MAC, run};
use segment::in_namespaces;
use segment6::{FIRST, LAST, SERVER};

/// The client's end of the cable.
const CLIENT: &str = "eth0";

struct Link {
    server: BootServer,
    facts: Arc<Facts>,
    folder: tempfile::TempDir,
    holder: Child,
}

impl Link {
    /// A server that forgets its leases.
    async fn start() -> Self {
        let facts = Arc::<Facts>::default();
        let sink = facts.sink();
        Self::with(facts, |sockets| async {
            let server = BootServer::start(segment6::config(), sockets, sink).await;
            server.expect("the servers start")
        })
        .await
    }

    /// A server that keeps its leases in a store.
    async fn keeping(store: Arc<dyn Store>) -> Self {
        let facts = Arc::<Facts>::default();
        let sink = facts.sink();
        Self::with(facts, |sockets| async {
            let config = segment6::config();
            let none = Ipv4Addr::UNSPECIFIED;
            let v4 = Responder::new(DhcpConfig::new(none, 24, none..=none));
            let mut parts = SharedParts::new(v4, sink);
            parts.responder6 = dhcp6_responder(
                &[(&config, 80)],
                Vec::new(),
                ArchTable::iana(),
                true,
                DhcpLimits::default(),
            );
            parts.keep_leases(store).expect("the leases are read");
            let server = BootServer::start_on(Shared::new(parts), config, sockets).await;
            server.expect("the servers start")
        })
        .await
    }

    async fn with<F: Future<Output = BootServer>>(
        facts: Arc<Facts>,
        start: impl FnOnce(Arc<dyn SocketSource>) -> F,
    ) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).expect("the holder is ready");
        let pid = holder.id();
        segment6::ip(&format!(
            "link add srv0 type veth peer name {CLIENT} netns {pid}"
        ))
        .await;
        let link = Self {
            server: start(segment6::sockets("srv0").await).await,
            facts,
            folder: tempfile::tempdir().unwrap(),
            holder,
        };
        let mac = MAC.to_string();
        // The client's addresses are usable at once.
        let dad = format!("net.ipv6.conf.{CLIENT}.accept_dad=0");
        let own = format!("{}/64", bootgate_netboot::ra::link_local(MAC.0));
        for command in [
            &["sysctl", "-q", "-w", &dad][..],
            &["ip", "link", "set", CLIENT, "address", &mac],
            &["ip", "link", "set", CLIENT, "addrgenmode", "none"],
            &["ip", "link", "set", "lo", "up"],
            &["ip", "link", "set", CLIENT, "up"],
            &["ip", "addr", "add", &own, "dev", CLIENT, "nodad"],
        ] {
            link.client(command).await;
        }
        link
    }

    async fn try_client(&self, command: &[&str]) -> Output {
        let pid = self.holder.id().to_string();
        run("nsenter", &[&["-t", &pid, "-n"], command].concat()).await
    }

    async fn client(&self, command: &[&str]) -> String {
        let output = self.try_client(command).await;
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {text}");
        text.into_owned()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn messages(&self) -> Vec<String> {
        let message = |kind| match kind {
            EventKind::DhcpReceived { mac: MAC, facts }
            | EventKind::DhcpSent {
                mac: MAC, facts, ..
            } => Some(facts.message),
            _ => None,
        };
        self.facts.kinds().into_iter().filter_map(message).collect()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn leased(text: &str) -> Ipv6Addr {
    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == ':'));
    let mut addresses = words.filter_map(|word| word.parse().ok());
    let found = addresses.find(|ip| (FIRST..=LAST).contains(ip));
    found.unwrap_or_else(|| panic!("no leased address in {text}"))
}

/// Runs dhclient until it is bound; the address.
async fn dhclient(link: &Link, what: &'static str) -> Ipv6Addr {
    let (leases, pid) = (link.path("leases"), link.path("pid"));
    let command = [
        "dhclient",
        what,
        "-6",
        "-v",
        "-D",
        "LL",
        "-lf",
        &leases,
        "-pf",
        &pid,
        "-sf",
        "/bin/true",
        CLIENT,
    ];
    link.client(&command).await;
    leased(&std::fs::read_to_string(&leases).unwrap())
}

/// Who has a lease on this address.
fn holder(link: &Link, ip: Ipv6Addr) -> Option<MacAddr> {
    let shared = link.server.shared();
    let responder = shared.responder6();
    responder.as_ref().unwrap().lease_of(shared.now(), ip)
}

#[test]
fn dhclient_gets_an_address_and_gives_it_back() {
    require_commands!("unshare", "nsenter", "ip", "sysctl", "dhclient");
    let ran = in_namespaces(|| async {
        let link = Link::start().await;
        let ip = dhclient(&link, "-1").await;
        let exchange = ["solicit", "advertise", "request", "reply"];
        assert_eq!(link.messages(), exchange);
        assert_eq!(holder(&link, ip), Some(MAC));
        dhclient(&link, "-r").await;
        link.facts.wait_count("dhcp-sent", 3).await;
        assert_eq!(holder(&link, ip), None, "released");
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn a_lease_is_in_the_store_before_its_reply_leaves_and_holds_after_a_restart() {
    require_commands!("unshare", "nsenter", "ip", "sysctl", "dhclient");
    let ran = in_namespaces(|| async {
        let state = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(state.path()).unwrap());
        let link = Link::keeping(Arc::clone(&store)).await;
        let ip = dhclient(&link, "-1").await;
        let kept = store.leases().unwrap();
        let [lease] = &kept[..] else {
            panic!("{kept:?}")
        };
        assert_eq!((lease.ip, lease.mac), (ip.into(), MAC));
        assert!(
            lease
                .client
                .as_ref()
                .is_some_and(|name| name.starts_with("00030001"))
        );
        let config = segment6::config();
        let again = dhcp6_responder(
            &[(&config, 80)],
            Vec::new(),
            ArchTable::iana(),
            true,
            DhcpLimits::default(),
        );
        let none = Ipv4Addr::UNSPECIFIED;
        let v4 = Responder::new(DhcpConfig::new(none, 24, none..=none));
        let mut parts = SharedParts::new(v4, Arc::new(|_| {}));
        parts.responder6 = again;
        parts.keep_leases(store).unwrap();
        let shared = Shared::new(parts);
        let held = shared
            .responder6()
            .as_ref()
            .unwrap()
            .lease_of(shared.now(), ip);
        assert_eq!(held, Some(MAC));
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn dhcpcd_follows_the_advertisement_to_dhcpv6() {
    require_commands!("unshare", "nsenter", "ip", "sysctl", "dhcpcd");
    let ran = in_namespaces(|| async {
        let link = Link::start().await;
        let config = link.path("dhcpcd.conf");
        let text =
            "noipv4\nipv6rs\nduid ll\nwaitip 6\nnodelay\nnohook resolv.conf, hostname\nnoipv4ll\n";
        std::fs::write(&config, text).unwrap();
        let command = [
            "dhcpcd", "-f", &config, "-1", "-B", "-d", "-t", "30", CLIENT,
        ];
        let said = link.try_client(&command).await;
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        link.facts.wait_count("router-advertised", 1).await;
        let messages = link.messages();
        assert!(
            messages.contains(&"reply".to_owned()),
            "{messages:?}: {said}"
        );
        leased(&said);
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn files_come_over_the_global_and_the_link_local_address() {
    require_commands!("unshare", "nsenter", "ip", "sysctl", "curl");
    let ran = in_namespaces(|| async {
        let link = Link::start().await;
        let file = link.path("file");
        let bytes = common::noise(100_000, 6);
        std::fs::write(&file, &bytes).unwrap();
        let name = bootgate_server::ArtifactName::new("file").unwrap();
        let artifact = bootgate_server::Artifact::new(&file, bootgate_events::ArtifactRole::Other);
        link.server.artifacts().insert(name, artifact);
        let address = "fd00:77::2/64";
        link.client(&["ip", "addr", "add", address, "dev", CLIENT, "nodad"])
            .await;
        let got = link.path("got");
        for host in [format!("[{SERVER}]"), format!("[fe80::1%25{CLIENT}]")] {
            for url in [
                format!("http://{host}/artifacts/file"),
                format!("tftp://{host}/file"),
            ] {
                link.client(&["curl", "-gsS", "-m", "20", "-o", &got, &url])
                    .await;
                assert_eq!(std::fs::read(&got).unwrap(), bytes, "{url}");
            }
        }
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}
