//! What else is in a reply: who gets a bootfile at all, what comes back, and that others can read it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use bootgate_netboot::dhcp::{ClientFacts, DhcpConfig, DropReason};
use common::*;
use dhcproto::{Decodable, Decoder, v4};

#[test]
fn option_61_comes_back_as_rfc_6842_asks() {
    let mut lab = Lab::new(config());
    let id = [255, 0, 1, 2, 3];
    let named = |packet: Packet| packet.with(61, id);
    for packet in [
        discover(mac(1)),
        select(mac(1), ip(200)),
        inform(mac(1), ip(99)),
    ] {
        let answer = lab.send(&named(packet));
        assert_eq!(answer.option(61).as_deref(), Some(&id[..]));
    }
    assert_eq!(lab.send(&discover(mac(2))).option(61), None);
}

#[test]
fn machines_that_are_unknown_or_not_to_netboot_get_a_plain_lease() {
    let mut lab = Lab::new(config());
    lab.machines.0.get_mut(&mac(1)).expect("machine 1").netboot = false;
    for (client, why) in [
        (mac(1), "not to boot from the network"),
        (mac(77), "unknown machine"),
    ] {
        for packet in [
            discover(client).pxe(7),
            discover(client).ipxe(0),
            discover(client).http(16),
        ] {
            let answer = lab.send(&packet);
            answer.offered();
            let fields = Fields::read(&answer.reply().bytes);
            assert_eq!(
                (fields.option(67), fields.option(66), fields.option(43)),
                (None, None, None)
            );
            assert!(fields.siaddr.is_unspecified() && fields.file.is_empty());
            let reason = &answer.reply().reason;
            assert!(reason.contains(why), "{reason}");
        }
    }
}

#[test]
fn a_proxy_says_nothing_to_machines_without_a_boot_and_to_plain_clients() {
    let mut lab = Lab::new(proxy());
    lab.machines.0.get_mut(&mac(1)).expect("machine 1").netboot = false;
    for client in [mac(1), mac(77)] {
        for packet in [
            discover(client).pxe(0),
            discover(client).pxe(7),
            discover(client).ipxe(7),
            discover(client).http(16),
        ] {
            lab.send(&packet).dropped(DropReason::NotForUs);
        }
    }
    for packet in [
        discover(mac(2)),
        inform(mac(2), ip(50)),
        select(mac(2), ip(11)),
        request(mac(2)).asks_for(ip(11)).pxe(7),
        renew(mac(2), ip(11)),
        release(mac(2), ip(11)),
        decline(mac(2), ip(11)),
    ] {
        let answer = lab.send(&packet);
        answer.dropped(DropReason::NotForUs);
        assert_eq!((&answer.0.grant, &answer.0.ended), (&None, &None));
    }
    lab.send_bytes(&fixture("udhcpc-discover"))
        .dropped(DropReason::NotForUs);
    assert_eq!(lab.server.tracked(), 0);
}

#[test]
fn an_interface_that_is_off_answers_nothing() {
    use bootgate_netboot::dhcp::DhcpMode;
    let mut off = config();
    off.interfaces[0].mode = DhcpMode::Off;
    let mut lab = Lab::new(off);
    lab.send(&discover(mac(1)).pxe(7)).dropped(DropReason::Off);
    lab.ask_4011(ip(50), &request(mac(1)).pxe(7))
        .dropped(DropReason::Off);
    lab.send_on(7, &discover(mac(1))).dropped(DropReason::Off);
}

#[test]
fn an_operating_system_gets_a_plain_lease_and_is_not_looked_up() {
    use bootgate_events::MacAddr;
    use bootgate_netboot::dhcp::{Datagram, Responder};
    use bootgate_netboot::policy::{BootMachine, MachineLookup};
    struct Never;
    impl MachineLookup for Never {
        fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
            panic!("{mac} was looked up")
        }
    }
    let mut server = Responder::new(config());
    let packet = fixture("udhcpc-discover");
    let outcome = server.handle(std::time::Duration::ZERO, &Datagram::new(&packet), &Never);
    let reply = outcome.reply.expect("an offer");
    assert_eq!(reply.facts.loader, "os");
    assert_eq!(Fields::read(&reply.bytes).option(67), None);
}

#[test]
fn captured_requests_are_acknowledged() {
    let mut lab = Lab::new(DhcpConfig::new(SERVER, 24, ip(10)..=ip(99)));
    for request in ["ipxe-bios-request", "edk2-x64-request"] {
        let bytes = fixture(request);
        let facts = ClientFacts::parse(&bytes).expect("a captured request");
        let ip = facts.requested.expect("option 50");
        lab.send_bytes(&bytes).acks(ip);
    }
}

#[test]
fn a_url_names_the_http_port_where_it_is_not_80() {
    let mut other = config();
    other.interfaces[0].http_port = 8080;
    let mut lab = Lab::new(other);
    let answer = lab.send(&discover(mac(1)).ipxe(7));
    let url = "http://10.77.0.1:8080/boot/52-54-00-00-00-01/boot.ipxe";
    assert_eq!(answer.bootfile(), Some(url));
}

#[test]
fn what_the_subnet_hands_out_is_in_offer_ack_and_inform() {
    let mut config = config();
    let subnet = &mut config.subnets[0];
    subnet.router = Some(ip(254));
    subnet.dns = vec![ip(53), ip(54)];
    subnet.domain = Some("lab.example".to_owned());
    subnet.ntp = vec![ip(123)];
    let mut lab = Lab::new(config);
    let own = lab.send(&discover(mac(1))).offered();
    for packet in [
        discover(mac(1)),
        select(mac(1), own),
        inform(mac(1), ip(99)),
    ] {
        let answer = lab.send(&packet);
        assert_eq!(answer.option(3), Some(ip(254).octets().to_vec()));
        let dns = [ip(53).octets(), ip(54).octets()].concat();
        assert_eq!(answer.option(6), Some(dns));
        assert_eq!(answer.option(15).as_deref(), Some(&b"lab.example"[..]));
        assert_eq!(answer.option(42), Some(ip(123).octets().to_vec()));
    }
}

#[test]
fn a_reply_keeps_within_what_the_client_takes_where_it_can() {
    let mut config = config();
    config.subnets[0].domain = Some("d".repeat(255));
    let mut lab = Lab::new(config);
    let client = discover(mac(1)).pxe(7).with(61, [7; 200]);
    let small = lab.send(&client);
    assert!(small.reply().bytes.len() <= 548, "576 with its headers");
    assert_eq!((small.option(15), small.option(61)), (None, None));
    assert_eq!(small.bootfile(), Some("snponly.efi"));
    let large = lab.send(&client.with(57, [5, 220]));
    assert!(large.option(15).is_some() && large.option(61).is_some());
}

#[test]
fn option_150_comes_where_it_is_asked_for() {
    let mut lab = Lab::new(config());
    let asks = discover(mac(1)).pxe(7).with(55, [1, 150]);
    let server = SERVER.octets().to_vec();
    assert_eq!(lab.send(&asks).option(150), Some(server));
    let not = discover(mac(1)).pxe(7);
    assert_eq!(lab.send(&not).option(150), None);
}

#[test]
fn another_implementation_reads_the_replies() {
    let mut lab = Lab::new(config());
    let answer = lab.send_bytes(&fixture("edk2-x64-discover"));
    let bytes = &answer.reply().bytes;
    let message = v4::Message::decode(&mut Decoder::new(bytes)).expect("dhcproto reads it");
    assert_eq!(message.opts().msg_type(), Some(v4::MessageType::Offer));
    assert_eq!(message.fname_str(), Some(Ok("snponly.efi\0")));
    assert_eq!(message.yiaddr(), answer.offered());
    assert_eq!(message.chaddr(), CAPTURED.0);
}
