//! What firmware and loaders need of the bytes, one test a rule; the clients are captured ones where there is a capture.
//!
//! The rules were read in EDK2 (`NetworkPkg/UefiPxeBcDxe/PxeBcDhcp4.c`, `HttpBootDxe/HttpBootDhcp4.c`), in iPXE
//! (`src/net/udp/dhcp.c`), in the PXE 2.1 specification and in the RFCs, or seen on the wire.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use bootgate_api::LeaseState;
use bootgate_netboot::dhcp::{
    CLIENT_PORT, Destination, DhcpConfig, DhcpMode, DropReason, PXE_PORT, SERVER_PORT, Sighting,
};
use bootgate_netboot::policy::{Bootfiles, arch};
use common::*;

/// The pool of the captures.
fn wide() -> DhcpConfig {
    DhcpConfig::new(SERVER, 24, ip(10)..=ip(99))
}

const SCRIPT_URL: &str = "http://10.77.0.1/boot/52-54-00-12-34-56/boot.ipxe";
const USE_BOOTFILE: &[u8] = &[6, 1, 8, 255];

#[test]
fn rule_01_edk2_gets_no_option_60_with_its_address() {
    let mut lab = Lab::new(config());
    let answer = lab.send_bytes(&fixture("edk2-x64-discover"));
    answer.offered();
    assert_eq!((answer.option(60), answer.option(43)), (None, None));
    assert_eq!(answer.bootfile(), Some("snponly.efi"));
}

#[test]
fn rule_01_with_option_60_there_is_43_6_8() {
    let mut lab = Lab::new(config());
    let answer = lab.send(&discover(mac(1)).pxe(0));
    answer.offered();
    assert_eq!(answer.option(60).as_deref(), Some(&b"PXEClient"[..]));
    assert_eq!(answer.option(43).as_deref(), Some(USE_BOOTFILE));
    assert_eq!(answer.option(67).as_deref(), Some(&b"undionly.kpxe\0"[..]));
}

#[test]
fn rule_01_port_4011_answers_in_mode_full_too() {
    let mut lab = Lab::new(config());
    let own = lab.lease(mac(1));
    let ask = request(mac(1)).pxe(7).ciaddr(own);
    let answer = lab.ask_4011(own, &ask);
    let ack = answer.acks([0, 0, 0, 0].into());
    assert_eq!(ack.option(60), Some(&b"PXEClient"[..]));
    assert_eq!(ack.option(67), Some(&b"snponly.efi\0"[..]));
    assert_eq!((ack.option(43), ack.option(51)), (None, None));
    assert_eq!(answer.0.grant, None, "no lease is granted there");
}

#[test]
fn rule_02_a_bios_gets_43_6_8_and_its_bootfile_from_a_proxy() {
    let mut lab = Lab::new(proxy());
    let answer = lab.send(&discover(mac(1)).pxe(0).with(97, [0; 17]));
    assert!(answer.offered().is_unspecified(), "a proxy has no address");
    assert_eq!(answer.option(60).as_deref(), Some(&b"PXEClient"[..]));
    assert_eq!(answer.option(43).as_deref(), Some(USE_BOOTFILE));
    assert_eq!(answer.option(67).as_deref(), Some(&b"undionly.kpxe\0"[..]));
    assert_eq!(answer.option(97).as_deref(), Some(&[0; 17][..]));
    let fields = Fields::read(&answer.reply().bytes);
    assert_eq!(fields.siaddr, SERVER);
    for absent in [1, 3, 6, 51, 58, 59] {
        assert_eq!(answer.option(absent), None, "option {absent}");
    }
    assert_eq!(lab.server.tracked(), 0);
}

#[test]
fn rule_02_efi_gets_no_43_from_a_proxy_and_finishes_on_4011() {
    let mut lab = Lab::new(proxy());
    let offer = lab.send_bytes(&fixture("edk2-x64-discover"));
    assert!(offer.offered().is_unspecified());
    assert_eq!(offer.option(60).as_deref(), Some(&b"PXEClient"[..]));
    assert_eq!((offer.option(43), offer.option(67)), (None, None));
    assert_eq!(Fields::read(&offer.reply().bytes).siaddr, SERVER);
    assert_eq!(offer.bootfile(), None);
    for kind in [3, 8] {
        let ask = Packet::new(CAPTURED, kind).pxe(7).ciaddr(ip(50));
        let ack = lab.ask_4011(ip(50), &ask).acks([0, 0, 0, 0].into());
        assert_eq!(ack.option(60), Some(&b"PXEClient"[..]));
        assert_eq!(ack.option(67), Some(&b"snponly.efi\0"[..]));
        assert_eq!(
            (ack.file.as_slice(), ack.siaddr),
            (&b"snponly.efi"[..], SERVER)
        );
        assert_eq!((ack.option(43), ack.ciaddr), (None, ip(50)));
    }
}

#[test]
fn rule_02_a_bios_that_asks_on_4011_gets_the_boot_item_it_named() {
    let mut lab = Lab::new(proxy());
    let ask = request(mac(1)).pxe(0).ciaddr(ip(50)).names_server(SERVER);
    let plain = lab.ask_4011(ip(50), &ask);
    assert_eq!(plain.option(43).as_deref(), Some(USE_BOOTFILE));
    let item = ask.with(43, [71, 4, 0, 0, 0, 1, 255]);
    let named = lab.ask_4011(ip(50), &item);
    assert_eq!(
        named.option(43).as_deref(),
        Some(&[6, 1, 8, 71, 4, 0, 0, 0, 1, 255][..])
    );
}

#[test]
fn rule_03_replies_on_4011_are_sent_from_4011_to_where_the_question_came_from() {
    for mode in [DhcpMode::Full, DhcpMode::Proxy] {
        let mut config = config();
        config.interfaces[0].mode = mode;
        let mut lab = Lab::new(config);
        let ask = request(mac(1)).pxe(7).ciaddr(ip(50));
        let answer = lab.ask_4011(ip(50), &ask);
        assert_eq!(answer.reply().from_port, PXE_PORT);
        assert_eq!(answer.reply().from, SERVER);
        let to = answer.reply().to;
        assert_eq!((to.ip(), to.port()), (ip(50), CLIENT_PORT));
        assert!(matches!(to, Destination::Back(_)));
        let offer = lab.send(&discover(mac(1)).pxe(7));
        assert_eq!(offer.reply().from_port, SERVER_PORT);
    }
}

#[test]
fn rule_03_what_is_not_a_boot_clients_question_gets_nothing_on_4011() {
    for mode in [DhcpMode::Full, DhcpMode::Proxy] {
        let mut config = config();
        config.interfaces[0].mode = mode;
        let mut lab = Lab::new(config);
        let asks = |packet: Packet| packet.ciaddr(ip(50));
        lab.ask_4011(ip(50), &asks(request(mac(1))))
            .dropped(DropReason::NotForUs);
        lab.ask_4011(ip(50), &asks(discover(mac(1)).pxe(7)))
            .dropped(DropReason::NotForUs);
        lab.ask_4011(ip(50), &asks(request(mac(77)).pxe(7)))
            .silent("unknown machine");
        let theirs = asks(request(mac(1)).pxe(7)).names_server(OTHER_SERVER);
        lab.ask_4011(ip(50), &theirs)
            .dropped(DropReason::ForeignServer);
        assert_eq!(lab.server.tracked(), 0);
    }
}

#[test]
fn rule_04_the_server_is_named_in_siaddr_54_and_66_and_the_bootfile_in_67_and_file() {
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
fn rule_04_option_67_ends_with_a_nul_in_every_mode() {
    let mut full = Lab::new(wide());
    let ack = full.send_bytes(&fixture("edk2-x64-request"));
    assert_eq!(ack.option(67).as_deref(), Some(&b"snponly.efi\0"[..]));
    assert_eq!(Fields::read(&ack.reply().bytes).file, b"snponly.efi");
    let mut proxy = Lab::new(proxy());
    let bios = proxy.send(&discover(mac(1)).pxe(0));
    let efi = proxy.ask_4011(ip(50), &request(mac(1)).pxe(7));
    let http = proxy.send(&discover(mac(1)).http(16));
    for answer in [bios, efi, http] {
        let bootfile = answer.option(67).expect("option 67");
        assert_eq!(
            bootfile.iter().position(|b| *b == 0),
            Some(bootfile.len() - 1)
        );
    }
}

#[test]
fn rule_04_a_bootfile_over_127_bytes_goes_into_option_67_alone() {
    for (length, fits) in [(127, true), (128, false), (254, false), (600, false)] {
        let mut lab = Lab::new(config());
        let name = "n".repeat(length);
        let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
        machine.bootfiles.set(7, Some(name.clone()));
        let offer = Fields::read(&lab.send(&discover(mac(1)).pxe(7)).reply().bytes);
        assert_eq!(offer.file.is_empty(), !fits, "{length}");
        assert_eq!(offer.whole(67), format!("{name}\0").as_bytes());
    }
}

#[test]
fn rule_05_ipxe_gets_siaddr_with_its_script_from_rom_and_chainloaded() {
    for config in [config(), proxy()] {
        let mut lab = Lab::new(config);
        for discover in ["ipxe-bios-discover", "ipxe-efi-discover"] {
            let answer = lab.send_bytes(&fixture(discover));
            assert_eq!(answer.bootfile(), Some(SCRIPT_URL), "{discover}");
            assert_eq!(answer.reply().facts.loader, "ipxe");
            assert_eq!(Fields::read(&answer.reply().bytes).siaddr, SERVER);
            let (who, said) = answer.0.received.as_ref().expect("readable");
            assert_eq!(*who, CAPTURED);
            assert_eq!(
                (said.message.as_str(), said.loader.as_str()),
                ("discover", "ipxe")
            );
            assert_eq!(said.user_class.as_deref(), Some("iPXE"));
        }
    }
}

#[test]
fn rule_05_ipxe_is_told_not_to_wait_for_proxies_with_or_without_a_bootfile() {
    let mut lab = Lab::new(config());
    let with = lab.send_bytes(&fixture("ipxe-bios-discover"));
    assert_eq!(with.option(175).as_deref(), Some(&[176, 1, 1][..]));
    assert_eq!(with.option(60), None, "or it would look for a boot server");
    lab.machines.0.get_mut(&CAPTURED).expect("machine").netboot = false;
    let without = lab.send_bytes(&fixture("ipxe-bios-discover"));
    assert_eq!(without.option(175).as_deref(), Some(&[176, 1, 1][..]));
    assert_eq!(without.option(67), None);
    let edk2 = lab.send_bytes(&fixture("edk2-x64-discover"));
    assert_eq!(edk2.option(175), None);
}

#[test]
fn rule_05_a_proxy_calls_itself_one_to_ipxe_which_then_waits_no_longer() {
    let mut lab = Lab::new(proxy());
    let offer = lab.send_bytes(&fixture("ipxe-bios-discover"));
    assert!(offer.offered().is_unspecified());
    assert_eq!(offer.option(60).as_deref(), Some(&b"PXEClient"[..]));
    assert_eq!(offer.option(175), None, "or it would take no notice");
    assert_eq!(offer.option(67).as_deref(), Some(SCRIPT_URL.as_bytes()));
}

#[test]
fn rule_06_http_boot_gets_option_60_httpclient_and_a_url_from_server_and_proxy() {
    for mode in [DhcpMode::Full, DhcpMode::Proxy] {
        let mut config = config();
        config.interfaces[0].mode = mode;
        config.interfaces[0].http_port = 8080;
        config.subnets[0].dns = vec![ip(53)];
        let mut lab = Lab::new(config);
        let answer = lab.send(&discover(mac(1)).http(16));
        assert_eq!(answer.offered().is_unspecified(), mode == DhcpMode::Proxy);
        assert_eq!(answer.option(60).as_deref(), Some(&b"HTTPClient"[..]));
        let url = "http://10.77.0.1:8080/artifacts/snponly.efi";
        assert_eq!(answer.bootfile(), Some(url));
        assert_eq!(answer.option(67), Some(format!("{url}\0").into_bytes()));
        assert_eq!(answer.option(43), None);
        let dns = (mode == DhcpMode::Full).then(|| ip(53).octets().to_vec());
        assert_eq!(answer.option(6), dns);
    }
}

#[test]
fn rule_06_every_http_architecture_is_told_by_its_class_or_its_code() {
    let mut lab = Lab::new(config());
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles = Bootfiles::from_iter([
        (arch::UEFI_X64, "x64.efi".to_owned()),
        (arch::UEFI_ARM64, "arm64.efi".to_owned()),
        (
            arch::UEFI_RISCV64,
            "https://files.example/riscv64.efi".to_owned(),
        ),
    ]);
    for (code, url) in [
        (16, "http://10.77.0.1/artifacts/x64.efi"),
        (19, "http://10.77.0.1/artifacts/arm64.efi"),
        (28, "https://files.example/riscv64.efi"),
    ] {
        let classed = lab.send(&discover(mac(1)).http(code));
        assert_eq!(classed.bootfile(), Some(url));
        let bare = lab.send(&discover(mac(1)).with(93, code.to_be_bytes()));
        assert_eq!(bare.bootfile(), Some(url));
        assert_eq!(bare.option(60).as_deref(), Some(&b"HTTPClient"[..]));
    }
    let none = lab.send(&discover(mac(1)).http(15));
    assert_eq!((none.option(60), none.option(67)), (None, None));
}

#[test]
fn rule_06_a_url_over_127_bytes_goes_into_option_67_alone() {
    let mut lab = Lab::new(config());
    let name = "n".repeat(120);
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles.set(7, Some(name.clone()));
    let offer = Fields::read(&lab.send(&discover(mac(1)).http(16)).reply().bytes);
    assert!(offer.file.is_empty());
    let url = format!("http://10.77.0.1/artifacts/{name}\0");
    assert_eq!(offer.whole(67), url.as_bytes());
}

#[test]
fn rule_07_option_97_comes_back_where_well_formed_only() {
    for config in [config(), proxy()] {
        let mut lab = Lab::new(config);
        let mut id = vec![0; 17];
        id[1..].copy_from_slice(b"0123456789abcdef");
        let asks = |id: &[u8]| discover(mac(1)).pxe(0).with(97, id);
        assert_eq!(lab.send(&asks(&id)).option(97), Some(id.clone()));
        let without = lab.send(&discover(mac(1)).pxe(0));
        assert_eq!(without.option(97), None);
        id[0] = 1;
        for bad in [&id[..], &id[..16], &[0]] {
            let answer = lab.send(&asks(bad));
            assert_eq!(answer.option(97), None);
            let reason = &answer.reply().reason;
            assert!(reason.contains("option 97 is malformed"), "{reason}");
        }
    }
}

#[test]
fn rule_07_option_93_may_list_several_architectures() {
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
        assert_eq!(answer.bootfile(), file, "{list:?}");
    }
    let (_, said) = lab
        .send(&listed(&[0, 6, 0, 9]))
        .0
        .received
        .expect("readable");
    assert_eq!(said.architectures, [6, 9]);
}

#[test]
fn rule_07_the_architecture_is_read_from_the_vendor_class_where_93_is_missing() {
    let mut lab = Lab::new(config());
    for (class, file) in [
        ("PXEClient:Arch:00007:UNDI:003016", Some("snponly.efi")),
        ("PXEClient:Arch:00000:UNDI:002001", Some("undionly.kpxe")),
        ("PXEClient", Some("undionly.kpxe")),
        ("PXEClient:Arch:00011:UNDI:003000", None),
    ] {
        let answer = lab.send(&discover(mac(1)).with(60, class));
        assert_eq!(answer.bootfile(), file, "{class}");
    }
}

#[test]
fn rule_07_both_forms_of_option_77_mean_ipxe_and_so_does_option_175() {
    let mut lab = Lab::new(config());
    for client in [
        discover(mac(1)).pxe(0).with(77, "iPXE"),
        discover(mac(1)).pxe(0).with(77, "\u{4}iPXE"),
        discover(mac(1)).pxe(0).with(77, "\u{3}lab\u{4}iPXE"),
        discover(mac(1)).pxe(0).with(175, [19, 1, 1]),
    ] {
        let loader = &lab.send(&client).reply().facts.loader.clone();
        assert_eq!(loader, "ipxe", "{:?}", client.options);
    }
    let other = discover(mac(1)).pxe(0).with(77, "iPXEfan");
    assert_eq!(lab.send(&other).reply().facts.loader, "firmware");
}

/// What an iPXE without HTTP among its features sends.
fn without_http(round: u8) -> Packet {
    discover(mac(1))
        .pxe(0)
        .byte(7, round)
        .with(77, "iPXE")
        .with(175, [21, 1, 1, 235, 3, 1, 0, 0])
}

#[test]
fn rule_07_a_rom_without_http_gets_a_whole_ipxe_and_ours_never_loads_itself() {
    let mut lab = Lab::new(config());
    assert_eq!(lab.send(&without_http(1)).bootfile(), Some("undionly.kpxe"));
    for class in ["bootgate", "\u{8}bootgate"] {
        let mut ours = without_http(2);
        ours.options.retain(|(code, _)| *code != 77);
        let answer = lab.send(&ours.with(77, class));
        let url = "http://10.77.0.1/boot/52-54-00-00-00-01/boot.ipxe";
        assert_eq!(answer.bootfile(), Some(url));
        assert_eq!(answer.reply().facts.loader, "ipxe");
    }
}

#[test]
fn rule_07_a_strangers_ipxe_that_loads_itself_is_stopped() {
    let mut lab = Lab::new(config());
    for round in 1..=3 {
        // A repeated DISCOVER of one boot (same transaction) does not count twice.
        for _ in 0..2 {
            let answer = lab.send(&without_http(round));
            assert_eq!(answer.bootfile(), Some("undionly.kpxe"), "round {round}");
        }
    }
    let stopped = lab.send(&without_http(4));
    assert_eq!(stopped.bootfile(), None);
    assert!(stopped.reply().reason.contains("it loads itself"));
    let later = lab.at(601).send(&without_http(5));
    assert_eq!(later.bootfile(), Some("undionly.kpxe"));
}

#[test]
fn rule_08_a_client_without_an_address_is_reached_by_broadcast_or_by_hardware_address() {
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
    let mut proxy = Lab::new(proxy());
    let offer = proxy.send(&discover(mac(1)).pxe(0));
    assert_eq!(offer.reply().to, Destination::Broadcast);
}

#[test]
fn rule_08_with_giaddr_the_reply_goes_to_the_relay_and_option_82_comes_back_last_and_unchanged() {
    let circuit = [1, 4, b'g', b'e', b'0', b'1', 2, 2, 0xff, 0];
    let relayed = |packet: Packet| {
        let id = [255, 0, 1, 2, 3];
        packet.giaddr(ip(250)).with(82, circuit).with(61, id)
    };
    let mut full = Lab::new(config());
    let offer = full.send(&relayed(discover(mac(1)).pxe(7)));
    let nak = full.send(&relayed(select(mac(1), ip(200))));
    nak.naks();
    let mut proxy = Lab::new(proxy());
    let proxied = proxy.send(&relayed(discover(mac(1)).pxe(0)));
    for answer in [&offer, &nak, &proxied] {
        assert_eq!(answer.reply().to, Destination::Relay(ip(250)));
        assert_eq!(answer.reply().to.port(), 67);
        let fields = Fields::read(&answer.reply().bytes);
        assert_eq!(fields.giaddr, ip(250));
        assert_eq!(fields.options.last(), Some(&(82, circuit.to_vec())));
    }
    let flags = Fields::read(&nak.reply().bytes).flags;
    assert_eq!(flags, 0x8000, "the relay is to broadcast it");
    let elsewhere = discover(mac(2)).giaddr([192, 168, 9, 1].into());
    let answer = full.send(&elsewhere);
    answer.silent("relay `192.168.9.1` is on a network without a pool");
    answer.dropped(DropReason::NoSubnet);
}

#[test]
fn rule_09_option_54_is_checked_before_anything_is_granted() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    let theirs = |packet: Packet| packet.names_server(OTHER_SERVER);
    for packet in [
        theirs(request(mac(2)).asks_for(common::ip(12))),
        theirs(renew(mac(2), common::ip(12))),
        theirs(Packet::new(mac(1), 7).ciaddr(ip)),
        theirs(Packet::new(mac(1), 4).asks_for(ip)),
    ] {
        let answer = lab.send(&packet);
        answer.silent("another server answers on this segment");
        assert_eq!((&answer.0.grant, &answer.0.ended), (&None, &None));
    }
    assert_eq!(lab.holder(ip), Some(mac(1)));
    assert_eq!(lab.server.tracked(), 1);
}

#[test]
fn rule_09_nak_goes_out_by_broadcast() {
    let mut lab = Lab::new(config());
    let answer = lab.send(&select(mac(1), ip(200)));
    answer.naks();
    assert_eq!(answer.reply().to, Destination::Broadcast);
    assert_eq!(answer.0.grant, None);
    let fields = Fields::read(&answer.reply().bytes);
    assert!(
        fields
            .option(56)
            .is_some_and(|text| text.starts_with(b"address 10.77.0.200"))
    );
    assert_eq!((fields.option(1), fields.option(51)), (None, None));
}

#[test]
fn rule_09_an_unknown_init_reboot_is_left_alone_unless_authoritative() {
    let wants = request(mac(1)).asks_for([192, 168, 1, 5].into());
    let mut shy = Lab::new(DhcpConfig {
        authoritative: false,
        ..config()
    });
    shy.send(&wants).dropped(DropReason::NotOurs);
    Lab::new(config()).send(&wants).naks();
}

#[test]
fn rule_09_decline_quarantines_inform_leases_nothing_and_a_lease_is_told_before_its_ack() {
    let mut lab = Lab::new(config());
    assert_eq!(lab.send(&inform(mac(2), ip(99))).0.grant, None);
    assert_eq!(lab.server.tracked(), 0);
    let offer = lab.send(&discover(mac(1)));
    assert_eq!(offer.0.grant, None, "an offer is no lease");
    let own = offer.offered();
    let ack = lab.at(5).send(&select(mac(1), own));
    let grant = ack.0.grant.as_ref().expect("a lease to make durable");
    assert_eq!((grant.ip, grant.mac), (own, mac(1)));
    assert_eq!(grant.ends.as_secs(), 3605);
    let ended = lab.send(&decline(mac(1), own));
    let ended = ended.ended(LeaseState::Quarantined);
    assert_eq!((ended.ip, ended.ends.as_secs()), (own, 605));
    assert_ne!(lab.send(&discover(mac(3)).asks_for(own)).offered(), own);
}

#[test]
fn rule_10_a_stray_second_server_is_noticed_by_who_takes_its_offer() {
    let mut lab = Lab::new(config());
    let own = lab.send(&discover(mac(1))).offered();
    let choice = request(mac(1)).asks_for(own).names_server(OTHER_SERVER);
    let foreign = lab.send(&choice).0.foreign.expect("another server");
    assert_eq!((foreign.address, foreign.mac), (OTHER_SERVER, Some(mac(1))));
    assert_eq!(foreign.by, Sighting::ClientChoseIt);
    let mut behind = Lab::new(proxy());
    let answer = behind.send(&choice);
    assert_eq!(
        answer.0.foreign, None,
        "a proxy is there for another server"
    );
}

#[test]
fn rule_10_a_stray_second_server_is_noticed_by_its_replies_too() {
    let mut theirs = Lab::new(DhcpConfig::new(OTHER_SERVER, 24, ip(100)..=ip(110)));
    let offer = theirs.send(&discover(mac(1))).reply().bytes.clone();
    let mut lab = Lab::new(config());
    let answer = lab.send_bytes(&offer);
    answer.dropped(DropReason::NotRequest);
    let foreign = answer.0.foreign.expect("another server");
    assert_eq!(
        (foreign.address, foreign.by),
        (OTHER_SERVER, Sighting::ItsReply)
    );
    let own = Lab::new(config())
        .send(&discover(mac(1)))
        .reply()
        .bytes
        .clone();
    assert_eq!(lab.send_bytes(&own).0.foreign, None, "our own, come back");
    assert_eq!(Lab::new(proxy()).send_bytes(&offer).0.foreign, None);
    lab.send(&Packet::new(mac(1), 2))
        .silent("message type `2` is not for a DHCP server");
}

#[test]
fn rule_11_replies_are_padded_to_300_bytes() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&discover(mac(1)));
    assert_eq!(offer.reply().bytes.len(), 300);
    let nak = lab.send(&select(mac(1), ip(200)));
    assert!(nak.reply().bytes.len() >= 300);
    let inform = lab.send(&inform(mac(1), ip(99)));
    assert_eq!(inform.reply().bytes.len(), 300);
    let mut proxy = Lab::new(proxy());
    let proxied = proxy.send_bytes(&fixture("edk2-x64-discover"));
    let asked = proxy.ask_4011(ip(50), &request(mac(1)).pxe(7));
    for answer in [proxied, asked] {
        assert!(answer.reply().bytes.len() >= 300);
    }
}
