//! Explanations, and the client that only looks: what they say is what the server does.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::Ipv4Addr;

use bootgate_api::Explanation;
use bootgate_netboot::dhcp::{
    Asked, DhcpConfig, DhcpMode, InterfaceId, MessageKind, ParseError, Port, ServerFacts,
    ServerMessage, probe,
};
use common::*;

fn named() -> DhcpConfig {
    let mut config = config();
    config.interfaces[0].name = "lab0".to_owned();
    config
}

fn explain(lab: &Lab, asked: &Asked) -> Explanation {
    lab.server.explain(lab.now(), asked, &lab.machines)
}

fn step<'a>(explanation: &'a Explanation, about: &str) -> &'a str {
    let step = explanation.steps.iter().find(|step| step.about == about);
    match step {
        Some(step) => &step.found,
        None => panic!("no step `{about}`: {explanation:?}"),
    }
}

fn firmware() -> Asked {
    Asked {
        architectures: vec![7],
        class: Some("PXEClient:Arch:00007:UNDI:003001".to_owned()),
        ..Asked::new(mac(1))
    }
}

#[test]
fn an_explanation_says_every_step_and_changes_nothing() {
    let lab = Lab::new(named());
    let said = explain(&lab, &firmware());
    let about: Vec<_> = said.steps.iter().map(|step| step.about.as_str()).collect();
    assert_eq!(
        about,
        [
            "interface",
            "loader",
            "machine",
            "architecture",
            "boot",
            "subnet",
            "lease"
        ]
    );
    assert_eq!(
        step(&said, "interface"),
        "`lab0`, address `10.77.0.1`, DHCP mode `full`"
    );
    assert!(step(&said, "loader").starts_with("firmware, by vendor class `PXEClient:Arch:00007"));
    assert_eq!(step(&said, "machine"), "armed");
    assert_eq!(step(&said, "architecture"), "`7`, x64 UEFI");
    assert_eq!(step(&said, "subnet"), "`10.77.0.0/24`, by the interface");
    assert!(
        said.outcome.ends_with("with bootfile `snponly.efi`"),
        "{}",
        said.outcome
    );
    assert_eq!(lab.server.tracked(), 0);
}

#[test]
fn what_is_explained_is_what_is_then_done() {
    for mode in [DhcpMode::Full, DhcpMode::Proxy] {
        let mut config = named();
        config.interfaces[0].mode = mode;
        let mut lab = Lab::new(config);
        for (asked, packet) in [
            (firmware(), discover(mac(1)).pxe(7)),
            (Asked::new(mac(2)), discover(mac(2))),
            (
                Asked {
                    class: Some("PXEClient".to_owned()),
                    user_class: Some("iPXE".to_owned()),
                    ..Asked::new(mac(3))
                },
                discover(mac(3)).with(60, "PXEClient").with(77, "iPXE"),
            ),
            (
                Asked {
                    giaddr: Some([192, 168, 9, 1].into()),
                    ..Asked::new(mac(4))
                },
                discover(mac(4)).giaddr([192, 168, 9, 1].into()),
            ),
        ] {
            let said = explain(&lab, &asked).outcome;
            let done = lab.send(&packet).0;
            match (done.reply, done.dropped) {
                (Some(reply), _) => {
                    let ip = reply.facts.address.filter(|_| mode == DhcpMode::Full);
                    let address = ip.map(|ip| format!(" of `{ip}`")).unwrap_or_default();
                    assert!(said.starts_with(&format!("offer{address} with")), "{said}");
                    let file = reply.facts.bootfile.unwrap_or_default();
                    assert!(said.contains(&file), "{said}");
                }
                (None, Some(dropped)) => {
                    assert_eq!(said, format!("no reply ({}): {dropped}", dropped.reason));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_proxys_offer_that_leaves_the_bootfile_to_port_4011_is_followed_there() {
    let mut lab = Lab::new(proxy());
    let said = explain(&lab, &firmware());
    let offer = lab.send(&discover(mac(1)).pxe(7));
    assert_eq!(offer.reply().facts.bootfile, None);
    assert!(
        step(&said, "offer").contains("no bootfile: UEFI asks for it on port 4011"),
        "{said:?}"
    );
    assert_eq!(step(&said, "port 4011"), "ack with bootfile `snponly.efi`");
    assert_eq!(
        said.outcome,
        "offer without a bootfile; on port 4011 ack with bootfile `snponly.efi`"
    );
    // Those to whom the offer names it do not ask there.
    let bios = Asked {
        architectures: vec![0],
        class: Some("PXEClient:Arch:00000:UNDI:002001".to_owned()),
        ..firmware()
    };
    let said = explain(&lab, &bios);
    assert_eq!(said.outcome, "offer with bootfile `undionly.kpxe`");
    assert!(!said.steps.iter().any(|step| step.about.contains("4011")));
    // A server that gives out addresses names it at once.
    let full = Lab::new(named());
    let said = explain(&full, &firmware());
    assert!(!said.outcome.contains("4011"), "{said:?}");
}

#[test]
fn a_machine_hears_why_it_gets_nothing() {
    let mut config = named();
    config.interfaces[0].mode = DhcpMode::Off;
    let mut lab = Lab::new(config);
    assert_eq!(
        explain(&lab, &firmware()).outcome,
        "no reply (off): DHCP is off on this interface"
    );
    lab = Lab::new(proxy());
    let unknown = Asked {
        mac: mac(77),
        ..firmware()
    };
    let said = explain(&lab, &unknown);
    assert_eq!(step(&said, "machine"), "unknown");
    assert_eq!(
        said.outcome,
        "no reply (not-for-us): nothing to boot: unknown machine"
    );
    let nowhere = Asked {
        interface: InterfaceId(9),
        ..firmware()
    };
    assert!(
        explain(&lab, &nowhere)
            .outcome
            .contains("no such interface")
    );
    let asks = Asked {
        port: Port::Pxe,
        message: MessageKind::Request,
        ..firmware()
    };
    assert_eq!(
        explain(&lab, &asks).outcome,
        "ack with bootfile `snponly.efi`"
    );
}

#[test]
fn a_machine_that_sends_too_much_is_told_so() {
    let mut lab = Lab::new(named());
    for _ in 0..30 {
        lab.send(&discover(mac(1)));
    }
    let said = explain(&lab, &firmware()).outcome;
    assert!(said.starts_with("no reply (rate-limited)"), "{said}");
}

#[test]
fn a_probe_is_answered_as_the_client_that_it_plays() {
    let mut lab = Lab::new(config());
    let class = "PXEClient:Arch:00007:UNDI:003001";
    let packet = probe::discover(0x1234_5678, mac(1), Some(7), Some(class));
    let answer = lab.send_bytes(&packet);
    let said = ServerFacts::parse(&answer.reply().bytes).expect("an offer");
    assert_eq!(said.message, ServerMessage::Offer);
    assert_eq!((said.xid, said.mac), (0x1234_5678, mac(1)));
    assert_eq!(said.server_id, Some(SERVER));
    assert_eq!((said.siaddr, said.yiaddr), (SERVER, answer.offered()));
    assert_eq!(said.netmask, Some([255, 255, 255, 0].into()));
    assert_eq!(said.lease, Some(3600));
    assert_eq!(said.bootfile.as_deref(), Some("snponly.efi"));
    assert_eq!(said.server_name.as_deref(), Some("10.77.0.1"));
    assert!(!said.is_proxy());
    assert!(answer.option(97).is_some());
    let plain = lab.send_bytes(&probe::discover(1, mac(2), None, None));
    assert_eq!(plain.reply().facts.loader, "os");

    let mut lab = Lab::new(proxy());
    let bios = probe::discover(2, mac(1), Some(0), Some("PXEClient:Arch:00000:UNDI:002001"));
    let said = ServerFacts::parse(&lab.send_bytes(&bios).reply().bytes).expect("an offer");
    assert!(said.is_proxy());
    assert_eq!(said.vendor_class.as_deref(), Some("PXEClient"));
    assert_eq!(said.discovery_control, Some(8));
    let ask = probe::request_4011(3, mac(1), 7, ip(50), SERVER);
    let answer = lab.give(&bootgate_netboot::dhcp::Datagram {
        port: Port::Pxe,
        ..bootgate_netboot::dhcp::Datagram::new(&ask)
    });
    let said = ServerFacts::parse(&answer.reply().bytes).expect("an ACK");
    assert_eq!(said.message, ServerMessage::Ack);
    assert_eq!(said.bootfile.as_deref(), Some("snponly.efi"));
}

#[test]
fn a_probe_is_known_for_one_and_no_machine_is() {
    let station = probe::station(mac(1), 2);
    assert_eq!(station.0[0] & 3, 2, "a locally administered address of one");
    assert_ne!(station, probe::station(mac(1), 3));
    let class = Some("PXEClient:Arch:00007:UNDI:003001");
    let played = |mac| probe::discover(1, mac, Some(7), class);
    assert!(probe::is_probe(&played(station)));
    let asks = probe::request_4011(3, station, 7, ip(50), SERVER);
    assert!(probe::is_probe(&asks));
    // By the address alone nobody is taken for one, nor by what another's identifier says.
    assert!(!probe::is_probe(&played(mac(1))));
    assert!(!probe::is_probe(&discover(station).pxe(7).bytes()));
    let mut borrowed = played(probe::station(mac(1), 3));
    borrowed[28..34].copy_from_slice(&station.0);
    assert!(!probe::is_probe(&borrowed));
    for length in 0..asks.len() {
        let _ = probe::is_probe(&asks[..length]);
    }
}

#[test]
fn what_is_no_servers_reply_is_refused() {
    assert_eq!(ServerFacts::parse(&[2; 20]), Err(ParseError::Short(20)));
    let asked = discover(mac(1)).bytes();
    assert_eq!(ServerFacts::parse(&asked), Err(ParseError::NotReply(1)));
    let odd = Packet::new(mac(1), 1).byte(0, 2).bytes();
    assert_eq!(ServerFacts::parse(&odd), Err(ParseError::NotFromServer(1)));
    let mut lab = Lab::new(config());
    let nak = lab.send(&select(mac(1), ip(200)));
    let said = ServerFacts::parse(&nak.reply().bytes).expect("a NAK");
    assert_eq!((said.message, said.lease), (ServerMessage::Nak, None));
}

#[test]
fn the_fixed_fields_count_where_options_are_missing_unless_overloaded() {
    let mut reply = Packet::new(mac(1), 2).byte(0, 2);
    reply.fixed[44..48].copy_from_slice(b"host");
    reply.fixed[108..112].copy_from_slice(b"file");
    let said = ServerFacts::parse(&reply.bytes()).expect("an offer");
    assert_eq!(said.server_name.as_deref(), Some("host"));
    assert_eq!(said.bootfile.as_deref(), Some("file"));
    let said = ServerFacts::parse(&reply.with(52, [3]).bytes()).expect("an offer");
    assert_eq!((said.server_name, said.bootfile), (None, None));
    assert_eq!(said.siaddr, Ipv4Addr::UNSPECIFIED);
}
