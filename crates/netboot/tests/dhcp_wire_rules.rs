//! What firmware and loaders need of the bytes, one test a rule; the clients are captured ones where there is a capture.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use bootgate_netboot::dhcp::{ClientFacts, Destination, DhcpConfig};
use common::*;
use dhcproto::{Decodable, Decoder, v4};

/// The pool of the captures.
fn wide() -> DhcpConfig {
    DhcpConfig::new(SERVER, 24, ip(10)..=ip(99))
}

const SCRIPT_URL: &str = "http://10.77.0.1/boot/52-54-00-12-34-56/boot.ipxe";

#[test]
fn edk2_gets_no_option_60_and_no_43_so_that_it_does_not_ask_on_port_4011() {
    let mut lab = Lab::new(config());
    let answer = lab.send_bytes(&fixture("edk2-x64-discover"));
    answer.offered();
    let offer = Fields::read(&answer.reply().bytes);
    assert_eq!(offer.option(60), None);
    assert_eq!(offer.option(43), None);
    assert_eq!(
        answer.reply().facts.bootfile.as_deref(),
        Some("snponly.efi")
    );
}

#[test]
fn bios_pxe_gets_option_60_with_43_6_8_so_that_it_takes_the_bootfile_at_once() {
    let mut lab = Lab::new(config());
    let offer = Fields::read(&lab.send(&discover(mac(1)).pxe(0)).reply().bytes);
    assert_eq!(offer.option(60), Some(&b"PXEClient"[..]));
    assert_eq!(offer.option(43), Some(&[6, 1, 8, 255][..]));
    assert_eq!(offer.option(67), Some(&b"undionly.kpxe\0"[..]));
}

#[test]
fn the_server_is_named_in_siaddr_54_and_66_and_the_bootfile_in_67_and_file() {
    let mut lab = Lab::new(config());
    for discover in [
        "edk2-x64-discover",
        "ipxe-efi-discover",
        "ipxe-bios-discover",
    ] {
        let offer = Fields::read(&lab.send_bytes(&fixture(discover)).reply().bytes);
        assert_eq!(offer.siaddr, SERVER, "{discover}");
        assert_eq!(offer.option(54), Some(&SERVER.octets()[..]));
        assert_eq!(offer.option(66), Some(&b"10.77.0.1"[..]));
        let bootfile = offer.option(67).expect("option 67");
        assert_eq!(bootfile.strip_suffix(b"\0").unwrap_or(bootfile), offer.file);
    }
}

#[test]
fn option_67_ends_with_a_nul_for_edk2_which_else_overwrites_the_next_option() {
    let mut lab = Lab::new(wide());
    let answer = lab.send_bytes(&fixture("edk2-x64-request"));
    let ack = Fields::read(&answer.reply().bytes);
    assert_eq!(ack.option(67), Some(&b"snponly.efi\0"[..]));
    assert_eq!(ack.file, b"snponly.efi");
}

#[test]
fn a_bootfile_over_127_bytes_goes_into_option_67_alone() {
    for (length, fits) in [(127, true), (128, false), (254, false)] {
        let mut lab = Lab::new(config());
        let name = "n".repeat(length);
        let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
        machine.bootfiles.set(7, Some(name.clone()));
        let offer = Fields::read(&lab.send(&discover(mac(1)).pxe(7)).reply().bytes);
        assert_eq!(offer.file.is_empty(), !fits, "{length}");
        assert_eq!(offer.option(67), Some(format!("{name}\0").as_bytes()));
    }
}

#[test]
fn ipxe_gets_its_script_by_url_from_rom_and_chainloaded() {
    let mut lab = Lab::new(config());
    for discover in ["ipxe-bios-discover", "ipxe-efi-discover"] {
        let answer = lab.send_bytes(&fixture(discover));
        answer.offered();
        let facts = &answer.reply().facts;
        assert_eq!(facts.bootfile.as_deref(), Some(SCRIPT_URL), "{discover}");
        assert_eq!(facts.loader, "ipxe");
        let (who, said) = answer.0.received.as_ref().expect("readable");
        assert_eq!(*who, CAPTURED);
        assert_eq!(
            (said.message.as_str(), said.loader.as_str()),
            ("discover", "ipxe")
        );
        assert_eq!(said.user_class.as_deref(), Some("iPXE"));
    }
}

#[test]
fn ipxe_is_told_not_to_wait_for_proxies_with_or_without_a_bootfile() {
    let mut lab = Lab::new(config());
    let with = Fields::read(&lab.send_bytes(&fixture("ipxe-bios-discover")).reply().bytes);
    assert_eq!(with.option(175), Some(&[176, 1, 1][..]));
    assert_eq!(with.option(60), None, "or it would look for a boot server");
    lab.machines.0.get_mut(&CAPTURED).expect("machine").netboot = false;
    let without = Fields::read(&lab.send_bytes(&fixture("ipxe-bios-discover")).reply().bytes);
    assert_eq!(without.option(175), Some(&[176, 1, 1][..]));
    assert_eq!(without.option(67), None);
    let edk2 = Fields::read(&lab.send_bytes(&fixture("edk2-x64-discover")).reply().bytes);
    assert_eq!(edk2.option(175), None);
}

#[test]
fn option_97_comes_back_where_well_formed_only() {
    let mut lab = Lab::new(config());
    let mut id = vec![0; 17];
    id[1..].copy_from_slice(b"0123456789abcdef");
    let offer = Fields::read(
        &lab.send(&discover(mac(1)).pxe(7).with(97, &id))
            .reply()
            .bytes,
    );
    assert_eq!(offer.option(97), Some(id.as_slice()));
    id[0] = 1;
    for bad in [&id[..], &id[..16], &[0]] {
        let answer = lab.send(&discover(mac(1)).pxe(7).with(97, bad));
        assert_eq!(Fields::read(&answer.reply().bytes).option(97), None);
        assert!(
            answer.reply().reason.contains("option 97 is malformed"),
            "{answer:?}"
        );
    }
}

#[test]
fn option_93_may_list_several_architectures() {
    let mut lab = Lab::new(config());
    let listed = |list: &[u8]| discover(mac(1)).with(60, "PXEClient").with(93, list);
    for (list, file) in [
        (&[0, 6, 0, 9][..], Some("snponly.efi")),
        (&[0, 7, 0, 0], Some("snponly.efi")),
        (&[0, 0, 0, 7], Some("undionly.kpxe")),
        (&[0, 7, 0], Some("snponly.efi")),
        (&[0, 11], None),
        (&[0, 6], None),
    ] {
        let answer = lab.send(&listed(list));
        assert_eq!(answer.reply().facts.bootfile.as_deref(), file, "{list:?}");
    }
    let (_, said) = lab
        .send(&listed(&[0, 6, 0, 9]))
        .0
        .received
        .expect("readable");
    assert_eq!(said.architectures, [6, 9]);
}

#[test]
fn the_architecture_is_read_from_the_vendor_class_where_93_is_missing() {
    let mut lab = Lab::new(config());
    for (class, file) in [
        ("PXEClient:Arch:00007:UNDI:003016", Some("snponly.efi")),
        ("PXEClient:Arch:00000:UNDI:002001", Some("undionly.kpxe")),
        ("PXEClient", Some("undionly.kpxe")),
        ("PXEClient:Arch:00011:UNDI:003000", None),
    ] {
        let answer = lab.send(&discover(mac(1)).with(60, class));
        assert_eq!(answer.reply().facts.bootfile.as_deref(), file, "{class}");
    }
}

#[test]
fn both_forms_of_option_77_mean_ipxe_and_so_does_option_175() {
    let mut lab = Lab::new(config());
    for client in [
        discover(mac(1)).pxe(0).with(77, "iPXE"),
        discover(mac(1)).pxe(0).with(77, "\u{4}iPXE"),
        discover(mac(1)).pxe(0).with(77, "\u{3}lab\u{4}iPXE"),
        discover(mac(1)).pxe(0).with(175, [19, 1, 1]),
    ] {
        assert_eq!(
            lab.send(&client).reply().facts.loader,
            "ipxe",
            "{:?}",
            client.options
        );
    }
    let other = discover(mac(1)).pxe(0).with(77, "iPXEfan");
    assert_eq!(lab.send(&other).reply().facts.loader, "firmware");
}

#[test]
fn an_ipxe_rom_without_http_gets_a_whole_one_instead_of_a_url_it_cannot_fetch() {
    let mut lab = Lab::new(config());
    let rom = discover(mac(1))
        .pxe(0)
        .with(77, "iPXE")
        .with(175, [21, 1, 1, 235, 3, 1, 0, 0]);
    let answer = lab.send(&rom);
    assert_eq!(
        answer.reply().facts.bootfile.as_deref(),
        Some("undionly.kpxe")
    );
}

#[test]
fn a_client_without_an_address_is_reached_by_broadcast_or_by_hardware_address() {
    let mut lab = Lab::new(config());
    let quiet = lab.send(&discover(mac(1)));
    let to = Destination::UnicastTo {
        ip: quiet.offered(),
        mac: mac(1),
    };
    assert_eq!(quiet.reply().to, to);
    let loud = lab.send(&discover(mac(1)).wants_broadcast());
    assert_eq!(loud.reply().to, Destination::Broadcast);
    assert_eq!(
        (
            loud.reply().to.port(),
            Fields::read(&loud.reply().bytes).flags
        ),
        (68, 0x8000)
    );
}

#[test]
fn with_giaddr_the_reply_goes_to_the_relay_and_option_82_comes_back_last_and_unchanged() {
    let mut lab = Lab::new(config());
    let circuit = [1, 4, b'g', b'e', b'0', b'1', 2, 2, 0xff, 0];
    let relayed = |packet: Packet| packet.giaddr(ip(250)).with(82, circuit);
    let offer = lab.send(&relayed(discover(mac(1)).pxe(7)));
    let nak = lab.send(&relayed(select(mac(1), ip(200))));
    nak.naks();
    for answer in [&offer, &nak] {
        assert_eq!(answer.reply().to, Destination::Relay(ip(250)));
        assert_eq!(answer.reply().to.port(), 67);
        let fields = Fields::read(&answer.reply().bytes);
        assert_eq!(fields.giaddr, ip(250));
        assert_eq!(fields.options.last(), Some(&(82, circuit.to_vec())));
    }
    assert_eq!(
        Fields::read(&nak.reply().bytes).flags,
        0x8000,
        "the relay is to broadcast it"
    );
    let elsewhere = discover(mac(2)).giaddr([192, 168, 9, 1].into());
    lab.send(&elsewhere)
        .silent("relay `192.168.9.1` is on a network without a pool");
}

#[test]
fn option_54_is_checked_before_anything_is_granted() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    let theirs = |packet: Packet| packet.names_server(OTHER_SERVER);
    for packet in [
        theirs(request(mac(2)).asks_for(common::ip(12))),
        theirs(renew(mac(2), common::ip(12))),
        theirs(Packet::new(mac(1), 7).ciaddr(ip)),
        theirs(Packet::new(mac(1), 4).asks_for(ip)),
    ] {
        lab.send(&packet)
            .silent("another server answers on this segment");
    }
    assert_eq!(lab.holder(ip), Some(mac(1)));
    assert_eq!(lab.server.tracked(), 1);
}

#[test]
fn nak_goes_out_by_broadcast() {
    let mut lab = Lab::new(config());
    let answer = lab.send(&select(mac(1), ip(200)));
    answer.naks();
    assert_eq!(answer.reply().to, Destination::Broadcast);
    let fields = Fields::read(&answer.reply().bytes);
    assert!(
        fields
            .option(56)
            .is_some_and(|text| text.starts_with(b"address 10.77.0.200"))
    );
    assert_eq!((fields.option(1), fields.option(51)), (None, None));
}

#[test]
fn a_stray_second_server_is_told_by_its_replies_too() {
    let mut lab = Lab::new(config());
    lab.send(&discover(mac(1)).byte(0, 2))
        .silent("op `2` is not a client's request");
    lab.send(&Packet::new(mac(1), 2))
        .silent("message type `2` is not for a DHCP server");
}

#[test]
fn replies_are_padded_to_300_bytes() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&discover(mac(1)));
    assert_eq!(offer.reply().bytes.len(), 300);
    let nak = lab.send(&select(mac(1), ip(200)));
    assert!(nak.reply().bytes.len() >= 300);
    let inform = lab.send(&inform(mac(1), ip(99)));
    assert_eq!(inform.reply().bytes.len(), 300);
}

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
        let fields = Fields::read(&lab.send(&named(packet)).reply().bytes);
        assert_eq!(fields.option(61), Some(&id[..]));
    }
    assert_eq!(
        Fields::read(&lab.send(&discover(mac(2))).reply().bytes).option(61),
        None
    );
}

#[test]
fn machines_that_are_unknown_or_not_to_netboot_get_a_plain_lease() {
    let mut lab = Lab::new(config());
    lab.machines.0.get_mut(&mac(1)).expect("machine 1").netboot = false;
    for (client, why) in [
        (mac(1), "not to boot from the network"),
        (mac(77), "unknown machine"),
    ] {
        for packet in [discover(client).pxe(7), discover(client).ipxe(0)] {
            let answer = lab.send(&packet);
            answer.offered();
            let fields = Fields::read(&answer.reply().bytes);
            assert_eq!(
                (fields.option(67), fields.option(66), fields.option(43)),
                (None, None, None)
            );
            assert!(fields.siaddr.is_unspecified() && fields.file.is_empty());
            assert!(
                answer.reply().reason.contains(why),
                "{}",
                answer.reply().reason
            );
        }
    }
}

#[test]
fn an_operating_system_gets_a_plain_lease() {
    let mut lab = Lab::new(config());
    let packet = fixture("udhcpc-discover");
    let answer = lab.send_bytes(&packet);
    answer.offered();
    assert_eq!(answer.reply().facts.loader, "os");
    assert_eq!(Fields::read(&answer.reply().bytes).option(67), None);
}

#[test]
fn captured_requests_are_acknowledged() {
    let mut lab = Lab::new(wide());
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
    assert_eq!(answer.reply().facts.bootfile.as_deref(), Some(url));
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
