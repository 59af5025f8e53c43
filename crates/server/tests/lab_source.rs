//! The address that a reply comes from, where the server's interface has several.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/lan.rs"]
mod lan;
#[path = "common/segment.rs"]
mod segment;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use bootgate_api::BootPlan;
use bootgate_events::{EventKind, MacAddr};
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::dhcp::probe::{discover, request_4011};
use bootgate_netboot::dhcp::{DhcpConfig, ServerMessage};
use bootgate_netboot::frame::udp4_frame;
use bootgate_server::{ArtifactName, Bootfiles, MachineBoot, MachineConfig, ScriptBoot};
use bootgate_testkit::{require_commands, skip};
use lan::{Capture, Lab, Lan, SeenReply};
use segment::in_namespaces;

/// The interface's first address, which the kernel takes where nobody says otherwise.
const FIRST: &str = "10.1.0.1/24";
/// The server's own.
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 60);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 250);
const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0xa]);

/// A server on the second address of its interface, and a plug on its network.
struct Bench {
    lab: Lab,
    wire: OwnedFd,
    server: MacAddr,
    capture: Capture,
    asked: usize,
}

impl Bench {
    async fn new() -> Self {
        let lan = Lan::new("br0", FIRST).await;
        lan::ip(&format!("addr add {SECOND}/24 dev br0")).await;
        let range = CLIENT..=Ipv4Addr::new(10, 1, 0, 99);
        let mut config = DhcpConfig::new(SECOND, 24, range);
        config.interfaces[0].name = "br0".to_owned();
        let lab = Lab::start(config, None).await;
        let plug = lan.plug().await;
        for ip in [CLIENT, RELAY] {
            lan::ip(&format!("neigh add {ip} lladdr {MAC} dev br0")).await;
        }
        Self {
            lab,
            wire: plug.packet_socket(0).unwrap().fd,
            server: HostInterface::open("br0").unwrap().mac,
            capture: lan.capture(),
            asked: 0,
        }
    }

    /// Sends a message to the server's address, and waits for the one reply.
    async fn ask(&mut self, from: (Ipv4Addr, u16), port: u16, message: &[u8]) -> SeenReply {
        let from = SocketAddrV4::new(from.0, from.1);
        let to = SocketAddrV4::new(SECOND, port);
        let frame = udp4_frame(MAC, from, self.server, to, message).unwrap();
        rustix::net::send(&self.wire, &frame, rustix::net::SendFlags::empty()).unwrap();
        self.asked += 1;
        let asked = self.asked;
        let facts = &self.lab.facts;
        facts
            .wait("reply", |_| {
                let told = facts.kinds();
                let sent = |kind: &&EventKind| matches!(kind, EventKind::DhcpSent { .. });
                (told.iter().filter(sent).count() >= asked).then_some(())
            })
            .await;
        let mut replies = self.capture.replies();
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }
}

/// A DISCOVER made into a message of this kind, of a client that has this address.
fn of_client(kind: u8, ciaddr: Ipv4Addr) -> Vec<u8> {
    let mut message = discover(7, MAC, None, None);
    assert_eq!(message[240..242], [53, 1], "the kind comes first");
    message[242] = kind;
    message[12..16].copy_from_slice(&ciaddr.octets());
    message
}

/// The address that names the server in a reply is the one that it comes from: clients and relays drop others, and so
/// do firewalls that know the address only that was asked.
#[test]
fn replies_come_from_the_address_that_names_the_server() {
    require_commands!("unshare", "nsenter", "ip");
    let ran = in_namespaces(|| async {
        let mut bench = Bench::new().await;

        let renewal = of_client(3, CLIENT);
        let reply = bench.ask((CLIENT, 68), 67, &renewal).await;
        assert_eq!(reply.facts.message, ServerMessage::Ack);
        assert_eq!(reply.facts.server_id, Some(SECOND));
        assert_eq!((reply.from_ip, reply.from_port), (SECOND, 67), "a renewal");

        let mut relayed = of_client(1, Ipv4Addr::UNSPECIFIED);
        relayed[24..28].copy_from_slice(&RELAY.octets());
        let reply = bench.ask((RELAY, 67), 67, &relayed).await;
        assert_eq!(reply.facts.message, ServerMessage::Offer);
        assert_eq!((reply.from_ip, reply.from_port), (SECOND, 67), "a relay");

        let machine = MachineConfig {
            mac: MAC,
            boot: MachineBoot::Script(Box::new(ScriptBoot {
                kernel: ArtifactName::new("vmlinuz").unwrap(),
                initrds: Vec::new(),
                cmdline: String::new(),
                plan: BootPlan::Stay,
                expected_chunks: None,
                expected_size: None,
                custom_script: None,
            })),
            nbp: Bootfiles::pc(None, Some("snponly.efi".to_owned())),
            loader: None,
            faults: Vec::new(),
        };
        bench.lab.machines.arm(machine, "nonce".into());
        let question = request_4011(9, MAC, 7, CLIENT, SECOND);
        let reply = bench.ask((CLIENT, 4011), 4011, &question).await;
        assert_eq!(reply.facts.bootfile.as_deref(), Some("snponly.efi"));
        assert_eq!((reply.from_ip, reply.from_port), (SECOND, 4011), "PXE");
        bench.lab.stop().await;
    });
    if !ran {
        skip!("needs root for network namespaces");
    }
}
