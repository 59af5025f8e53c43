//! What is explained is what happens.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "common/lab6.rs"]
mod lab6;

use std::net::Ipv6Addr;

use bootgate_netboot::dhcp::{Asked, InterfaceId};
use bootgate_netboot::dhcp6::Responder;
use lab6::*;

fn firmware(class: &str, arch: u16) -> Asked {
    Asked {
        class: Some(class.to_owned()),
        architectures: vec![arch],
        ..Asked::new(mac(1))
    }
}

fn told(lab: &Lab, asked: &Asked) -> (String, String) {
    let explanation = lab.explain(asked);
    let steps = explanation.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| format!("{}: {}", step.about, step.found))
        .collect();
    (steps.join("\n"), explanation.outcome)
}

#[test]
fn an_explanation_ends_as_the_exchange_does_and_changes_nothing() {
    let mut lab = Lab::new(config());
    let (steps, outcome) = told(&lab, &firmware("PXEClient", 7));
    assert_eq!(lab.server.tracked(), 0);
    let offer = lab.send(&solicit(1).pxe(7)).advertised();
    let ip = offer.address(1).unwrap();
    let url = offer.text(59);
    assert_eq!(
        outcome,
        format!("advertise of `{ip}` with bootfile-url `{url}`")
    );
    for part in [
        "loader: firmware",
        "architecture: `7`",
        "prefix: `fd00:77::/64`",
    ] {
        assert!(steps.contains(part), "`{part}` in {steps}");
    }

    // Once a client of the machine has a lease, it is that client's.
    let other = ip6(0x123);
    lab.send(&request(1, other).pxe(7)).replied();
    let (steps, outcome) = told(&lab, &firmware("PXEClient", 7));
    assert!(outcome.contains(&format!("`{other}`")), "{outcome}");
    assert!(steps.contains("by its latest DUID"), "{steps}");
}

#[test]
fn each_kind_of_client_is_explained_as_it_is_answered() {
    let mut lab = Lab::new(config());
    let script = "http://[fd00:77::1]:8080/boot/52-54-00-00-00-01/boot.ipxe";
    let ipxe = Asked {
        user_class: Some("iPXE".to_owned()),
        ..firmware("PXEClient", 7)
    };
    assert!(told(&lab, &ipxe).1.contains(script));
    let http = lab.send(&solicit(1).http(16)).advertised().text(59);
    assert!(told(&lab, &firmware("HTTPClient", 16)).1.contains(&http));
    let os = told(&lab, &Asked::new(mac(1))).1;
    assert!(os.ends_with("without a bootfile-url"), "{os}");
}

#[test]
fn a_client_behind_a_relay_is_explained_as_one() {
    let mut lab = Lab::new(config());
    let relay: Ipv6Addr = "fd00:88::1".parse().unwrap();
    let asked = Asked {
        link: Some(relay),
        ..firmware("PXEClient", 7)
    };
    let (steps, outcome) = told(&lab, &asked);
    assert!(
        steps.contains("prefix: `fd00:88::/64`, by the relay's link address"),
        "{steps}"
    );
    let message = relayed(&solicit(1).pxe(7).bytes(), 0, relay, link_local(1), &[]);
    let reply = lab.send_bytes(&message, relay).0.reply.expect("a reply");
    let ip = reply.facts.address.expect("an address");
    let url = reply.facts.bootfile.expect("a URL");
    assert_eq!(
        outcome,
        format!("advertise of `{ip}` with bootfile-url `{url}`")
    );
    let nowhere = Asked {
        link: Some("fd00:99::1".parse().unwrap()),
        ..asked
    };
    assert!(told(&lab, &nowhere).1.starts_with("no reply (no-subnet)"));
}

#[test]
fn where_addresses_come_from_elsewhere_only_the_rest_is_told() {
    let mut config = config();
    config.subnets[0].range = None;
    let lab = Lab::new(config);
    let (steps, outcome) = told(&lab, &firmware("PXEClient", 7));
    assert!(outcome.starts_with("reply with bootfile-url"), "{outcome}");
    assert!(steps.contains("come from elsewhere"), "{steps}");
}

#[test]
fn an_interface_without_dhcpv6_says_so() {
    let lab = Lab::new(config());
    let asked = Asked {
        interface: InterfaceId(3),
        ..firmware("PXEClient", 7)
    };
    let (_, outcome) = told(&lab, &asked);
    assert!(outcome.starts_with("no reply"), "{outcome}");
    let responder: &Responder = &lab.server;
    assert_eq!(responder.tracked(), 0);
}
