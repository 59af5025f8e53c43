//! Architectures: one table for all of them, and the firmware that lies about its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::DhcpConfig;
use bootgate_netboot::policy::{ArchRow, ArchTable, Bootfiles, Firmware, Transport, arch};
use common::*;

/// IANA's "Processor Architecture Types" that fetch by HTTP.
const HTTP: [u16; 13] = [15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40];

fn with_table(table: ArchTable) -> Lab {
    let mut lab = Lab::new(DhcpConfig {
        architectures: table,
        ..config()
    });
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles = Bootfiles::default();
    lab
}

#[test]
fn every_code_from_0_to_41_has_a_row() {
    let table = ArchTable::iana();
    let codes: Vec<_> = table.rows().map(|(code, _)| code).collect();
    assert_eq!(codes, (0..=41).collect::<Vec<_>>());
    for (code, row) in table.rows() {
        let http = row.transport == Transport::Http;
        assert_eq!(http, HTTP.contains(&code), "{code} {}", row.name);
        assert_eq!(row.bootfile, None);
        if let Some(same) = row.same_as {
            let other = table.row(same).expect("a row");
            assert_eq!(other.firmware, row.firmware, "{code}");
            assert_eq!((other.transport, other.same_as), (Transport::Tftp, None));
        }
    }
    for (code, firmware) in [
        (0, Firmware::Bios),
        (7, Firmware::Uefi),
        (9, Firmware::Uefi),
        (12, Firmware::OpenFirmware),
        (14, Firmware::Power),
        (22, Firmware::UBoot),
        (27, Firmware::Uefi),
        (31, Firmware::S390),
        (39, Firmware::Uefi),
        (41, Firmware::RaspberryPi),
    ] {
        assert_eq!(table.row(code).expect("a row").firmware, firmware, "{code}");
    }
}

#[test]
fn every_code_gets_the_program_that_is_given_for_it() {
    let mut lab = with_table(ArchTable::iana());
    for code in 0..=41u16 {
        let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
        machine.bootfiles = Bootfiles::from_iter([(code, format!("{code}.nbp"))]);
        let http = HTTP.contains(&code);
        let class = if http { "HTTPClient" } else { "PXEClient" };
        let class = format!("{class}:Arch:{code:05}:UNDI:003001");
        let client = discover(mac(1))
            .with(60, class)
            .with(93, code.to_be_bytes());
        let answer = lab.at(u64::from(code) * 10).send(&client);
        let expected = match code {
            arch::RPI => None,
            _ if http => Some(format!("http://10.77.0.1/artifacts/{code}.nbp")),
            _ => Some(format!("{code}.nbp")),
        };
        assert_eq!(answer.bootfile(), expected.as_deref(), "{code}");
    }
}

#[test]
fn the_tables_own_programs_serve_machines_that_name_none() {
    let mut lab = with_table(ArchTable::with_ipxe());
    for (code, file) in [
        (0, Some("undionly.kpxe")),
        (7, Some("snponly.efi")),
        (9, Some("snponly.efi")),
        (11, Some("ipxe-arm64.efi")),
        (27, Some("ipxe-riscv64.efi")),
        (39, Some("ipxe-loong64.efi")),
        (6, None),
        (12, None),
        (4000, None),
    ] {
        let answer = lab.send(&discover(mac(1)).pxe(code));
        assert_eq!(answer.bootfile(), file, "{code}");
    }
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles.set(7, Some("own.efi".to_owned()));
    for code in [7, 9] {
        let answer = lab.send(&discover(mac(1)).pxe(code));
        assert_eq!(answer.bootfile(), Some("own.efi"), "{code}");
    }
}

#[test]
fn x64_under_7_and_under_9_is_the_same_unless_said_otherwise() {
    let mut lab = with_table(ArchTable::iana());
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles = Bootfiles::from_iter([(7, "x64.efi".to_owned())]);
    assert_eq!(
        lab.send(&discover(mac(1)).pxe(9)).bootfile(),
        Some("x64.efi")
    );
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles.set(9, Some("ebc.efi".to_owned()));
    assert_eq!(
        lab.send(&discover(mac(1)).pxe(9)).bootfile(),
        Some("ebc.efi")
    );
    assert_eq!(
        lab.send(&discover(mac(1)).pxe(7)).bootfile(),
        Some("x64.efi")
    );
}

#[test]
fn an_operator_adds_and_overrides_rows() {
    let own = ArchRow::new("our board", Firmware::Uefi, Transport::Tftp);
    let table = ArchTable::with_ipxe()
        .with(200, own.with_bootfile("board.efi"))
        .with(
            0,
            ArchRow::new("BIOS", Firmware::Bios, Transport::Tftp).with_bootfile("lpxelinux.0"),
        );
    let mut lab = with_table(table);
    let board = lab.send(&discover(mac(1)).pxe(200));
    assert_eq!(board.bootfile(), Some("board.efi"));
    assert!(board.reply().reason.contains("our board"));
    let bios = lab.send(&discover(mac(1)).pxe(0));
    assert_eq!(bios.bootfile(), Some("lpxelinux.0"));
    assert_eq!(bios.option(43).as_deref(), Some(&[6, 1, 8, 255][..]));
}

#[test]
fn a_raspberry_pi_gets_its_menu_and_never_a_bios_program() {
    let pi = MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]);
    let class = "PXEClient:Arch:00000:UNDI:002001";
    let rom = discover(pi).with(60, class).with(93, [0, 0]);
    let newer = discover(mac(1)).pxe(arch::RPI);
    for config in [config(), proxy()] {
        let mut lab = Lab::new(config);
        lab.machines.0.insert(pi, netboot_machine());
        for packet in [&rom, &newer] {
            let answer = lab.send(packet);
            let menu = answer.option(43).expect("option 43");
            assert!(menu.windows(17).any(|w| w == b"Raspberry Pi Boot"));
            assert_eq!(menu.len(), 32);
            assert_eq!(answer.option(60).as_deref(), Some(&b"PXEClient"[..]));
            assert_eq!(answer.option(66).as_deref(), Some(&b"10.77.0.1"[..]));
            let fields = Fields::read(&answer.reply().bytes);
            assert_eq!(fields.siaddr, SERVER);
            assert_eq!((fields.option(67), answer.bootfile()), (None, None));
            assert!(fields.file.is_empty());
        }
        // What else such a board boots is as good as any other.
        let ipxe = discover(pi).ipxe(11);
        assert!(
            lab.send(&ipxe)
                .bootfile()
                .expect("a script")
                .ends_with("boot.ipxe")
        );
        let uefi = lab.send(&discover(pi).pxe(0));
        assert_eq!(
            uefi.bootfile(),
            Some("undionly.kpxe"),
            "another vendor class"
        );
    }
}

#[test]
fn u_boot_is_told_the_server_to_look_for_its_configuration_on() {
    let mut lab = Lab::new(config());
    let answer = lab.send_bytes(&fixture("uboot-arm64-discover"));
    assert_eq!(answer.reply().facts.loader, "firmware");
    let fields = Fields::read(&answer.reply().bytes);
    assert_eq!(fields.siaddr, SERVER);
    assert_eq!((fields.option(67), fields.option(60)), (None, None));
    assert_eq!(fields.option(66), Some(&b"10.77.0.1"[..]));
    let machine = lab.machines.0.get_mut(&CAPTURED).expect("the machine");
    machine.bootfiles.set(22, Some("boot.scr.uimg".to_owned()));
    let named = lab.send_bytes(&fixture("uboot-arm64-discover"));
    assert_eq!(named.bootfile(), Some("boot.scr.uimg"));
    lab.machines.0.get_mut(&CAPTURED).expect("machine").netboot = false;
    let plain = lab.send_bytes(&fixture("uboot-arm64-discover"));
    assert!(Fields::read(&plain.reply().bytes).siaddr.is_unspecified());
}

/// A machine that another loader than iPXE boots: its ROM's iPXE is told the same program as firmware.
#[test]
fn an_ipxe_rom_gets_the_boot_program_where_another_loader_boots_the_machine() {
    let mut lab = Lab::new(config());
    let machine = lab.machines.0.get_mut(&mac(1)).expect("machine 1");
    machine.bootfiles = Bootfiles::from_iter([(arch::BIOS, "pxelinux.0".to_owned())]);
    machine.no_script = true;
    let answer = lab.send(&discover(mac(1)).ipxe(arch::BIOS));
    assert_eq!(answer.bootfile(), Some("pxelinux.0"));
}
