//! What `bootgate serve --dhcp-settings` prints is what the other servers understand.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::process::Command;

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, told};
use serde_json::{Value, json};

/// The settings for one server.
fn settings(cable: &Cable, server: &str, more: &str) -> String {
    let programs = cable.path("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    for name in ["undionly.kpxe", "snponly.efi", "ipxe-arm64.efi"] {
        std::fs::write(programs.join(name), "a program").expect("a program");
    }
    let config = cable.config(&format!(
        "[[interface]]\nname = \"srv0\"\ndhcp = \"off\"\n{more}\n[boot]\nfolder = \"programs\"\n"
    ));
    let output = Command::new(BOOTGATE)
        .args(["serve", "--dhcp-settings", server, "--config"])
        .arg(config)
        .output()
        .expect("run bootgate");
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn each_server_has_its_settings() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        for server in ["dnsmasq", "isc", "kea", "windows", "opnsense", "unifi"] {
            insta::assert_snapshot!(server, settings(&cable, server, ""));
        }
        let all = settings(&cable, "all", "");
        for server in [
            "dnsmasq",
            "ISC dhcpd",
            "Kea",
            "Windows Server",
            "OPNsense",
            "UniFi",
        ] {
            assert!(all.contains(&format!("== {server} ==")), "{all}");
        }
        let other = settings(&cable, "isc", "http_port = 8080\ntftp = false");
        assert!(
            other.contains("http://10.77.0.1:8080/boot/${mac}/boot.ipxe"),
            "{other}"
        );
        assert!(
            other.contains("http://10.77.0.1:8080/artifacts/snponly.efi"),
            "{other}"
        );
        assert!(
            !other.contains("filename \"snponly.efi\""),
            "nothing by TFTP: {other}"
        );
    }));
}

#[test]
fn dnsmasq_takes_its_settings() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let file = cable.path("dnsmasq.conf");
        std::fs::write(&file, settings(&cable, "dnsmasq", "")).expect("a file");
        let output = Command::new("dnsmasq")
            .args(["--test", "--conf-file"])
            .arg(&file)
            .output();
        let output = Command::new("dnsmasq")
            .arg("--test")
            .arg(format!("--conf-file={}", file.display()))
            .output()
            .or(output);
        let output = output.expect("run dnsmasq");
        assert!(output.status.success(), "{}", told(&output));
    }));
}

#[test]
fn isc_dhcpd_takes_its_settings_for_all_subnets_and_for_one() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dhcpd");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let text = settings(&cable, "isc", "");
        let subnet = "subnet 10.77.0.0 netmask 255.255.255.0 {\n  range 10.77.0.200 10.77.0.209;\n";
        let definition = |line: &&str| line.starts_with("option ") && line.contains(" code ");
        let (outside, inside): (Vec<_>, Vec<_>) = text.lines().partition(definition);
        assert_eq!(outside.len(), 1, "{text}");
        let all = format!("{text}\n{subnet}}}\n");
        let one = format!("{}\n{subnet}{}\n}}\n", outside[0], inside.join("\n"));
        let leases = cable.path("dhcpd.leases");
        std::fs::write(&leases, "").expect("a file");
        for text in [all, one] {
            let file = cable.path("dhcpd.conf");
            std::fs::write(&file, &text).expect("a file");
            let output = Command::new("dhcpd")
                .args(["-4", "-t", "-cf"])
                .arg(&file)
                .arg("-lf")
                .arg(&leases)
                .output()
                .expect("run dhcpd");
            assert!(output.status.success(), "{}{text}", told(&output));
        }
    }));
}

/// A dhcpd with our settings, asked by three kinds of clients and by iPXE.
#[test]
fn isc_dhcpd_says_what_the_settings_mean() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "dhcpd");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let text = settings(&cable, "isc", "");
        let server = cable.serve(&cable.path("serve.toml"));
        let (file, leases) = (cable.path("dhcpd.conf"), cable.path("dhcpd.leases"));
        let subnet = "subnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.200 10.77.0.209; }";
        std::fs::write(&file, format!("{text}\n{subnet}\n")).expect("a file");
        std::fs::write(&leases, "").expect("a file");
        let mut dhcpd = Command::new("dhcpd");
        dhcpd.args(["-4", "-f", "-d", "-user", "root", "-group", "root", "-cf"]);
        dhcpd.arg(&file).arg("-lf").arg(&leases).arg("-pf");
        dhcpd.arg(cable.path("dhcpd.pid")).arg("srv0");
        let mut dhcpd = cable::Program::start(dhcpd);
        dhcpd.wait_for("Sending on");
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        for part in [
            "10.77.0.1 offers BIOS machines `undionly.kpxe`",
            "10.77.0.1 offers UEFI machines `snponly.efi`",
            "10.77.0.1 offers UEFI HTTP Boot machines `http://10.77.0.1/artifacts/snponly.efi`",
            "artifacts/snponly.efi` is there",
        ] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        ipxe_gets_its_script(&cable);
        dhcpd.stop("TERM");
        server.stop("TERM");
    }));
}

#[test]
fn kea_takes_its_settings() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "kea-dhcp4");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let text = settings(&cable, "kea", "");
        let classes = text.lines().skip(1).collect::<Vec<_>>().join("\n");
        let mut config: Value = serde_json::from_str(&classes).expect("JSON below the comment");
        let dhcp4 = config["Dhcp4"].as_object_mut().expect("a table");
        dhcp4.insert(
            "interfaces-config".into(),
            json!({ "interfaces": ["srv0"] }),
        );
        dhcp4.insert(
            "lease-database".into(),
            json!({ "type": "memfile", "persist": false }),
        );
        dhcp4.insert("subnet4".into(), json!([{ "subnet": "10.77.0.0/24", "pools": [{ "pool": "10.77.0.200 - 10.77.0.209" }] }]));
        let file = cable.path("kea.conf");
        std::fs::write(&file, config.to_string()).expect("a file");
        let output = Command::new("kea-dhcp4")
            .arg("-t")
            .arg(&file)
            .output()
            .expect("run kea-dhcp4");
        assert!(output.status.success(), "{}", told(&output));
    }));
}

/// A dnsmasq with our settings, asked by three kinds of clients.
#[test]
fn dnsmasq_says_what_the_settings_mean() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::wide();
        let file = cable.path("dnsmasq.conf");
        let programs = cable.path("programs");
        std::fs::create_dir_all(&programs).expect("a folder");
        for name in ["undionly.kpxe", "snponly.efi"] {
            std::fs::write(programs.join(name), "a program").expect("a program");
        }
        let config = cable.config(
            "[[interface]]\nname = \"br0\"\ndhcp = \"off\"\n\n[boot]\nfolder = \"programs\"\n",
        );
        let output = Command::new(BOOTGATE)
            .args(["serve", "--dhcp-settings", "dnsmasq", "--config"])
            .arg(&config)
            .output();
        std::fs::write(&file, output.expect("run bootgate").stdout).expect("a file");
        let _server = cable.serve(&config);
        let text = format!("--conf-file={}", file.display());
        let _dhcp = cable.dnsmasq(
            cable::Place::Third,
            &["--dhcp-range=10.77.0.200,10.77.0.209,5m", &text],
        );
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        for part in [
            "10.77.0.2 offers BIOS machines `undionly.kpxe`",
            "`undionly.kpxe` from 10.77.0.1 by TFTP comes",
            "10.77.0.2 offers UEFI machines `snponly.efi`",
            "10.77.0.2 offers UEFI HTTP Boot machines `http://10.77.0.1/artifacts/snponly.efi`",
            "artifacts/snponly.efi` is there",
        ] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        ipxe_gets_its_script(&cable);
    }));
}

/// A client that says that it is iPXE is named its script, and no program that would load itself for ever.
fn ipxe_gets_its_script(cable: &Cable) {
    let ipxe = [
        "-x",
        "0x4d:69505845",
        "-x",
        "0x5d:0007",
        "-V",
        "PXEClient:Arch:00007:UNDI:003010",
    ];
    let env = cable.udhcpc(&ipxe).expect("an address");
    assert!(
        env.contains("boot_file=http://10.77.0.1/boot/${mac}/boot.ipxe"),
        "{env}"
    );
}
