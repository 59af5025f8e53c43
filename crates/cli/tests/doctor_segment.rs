//! `bootgate doctor --segment` finds what is wrong on a segment.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod cable;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootgate_testkit::{in_namespaces, require_commands, require_files, require_root};
use cable::{CLIENT, Cable, Place, sh};
use serde_json::Value;

const RANGE: &str = "--dhcp-range=10.77.0.200,10.77.0.209,5m";

fn assert_has(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

#[test]
fn two_dhcp_servers_are_named_by_address_and_hardware_address() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::wide();
        let _one = cable.dnsmasq(Place::Third, &[RANGE]);
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        sh("ip link set br0 name srv9; true");
        let two = [
            "--interface=srv9",
            "--dhcp-range=10.77.0.100,10.77.0.109,5m",
        ];
        let _two = cable.dnsmasq(Place::Server, &two);
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(
            &said,
            &[
                "FAIL  dhcp     2 DHCP servers give out addresses: 10.77.0.1 (",
                "10.77.0.2 (",
                "switch's table",
            ],
        );
        let (code, said) = cable.doctor(&["--format", "json"]);
        assert_eq!(code, Some(1), "{said}");
        let report: Value = serde_json::from_str(&said).expect("JSON");
        let servers = report["servers"].as_array().unwrap();
        assert_eq!(servers.len(), 2, "{said}");
        let mac = cable
            .at(Place::Third, "ip")
            .args(["-o", "link", "show", "oth0"])
            .output()
            .unwrap();
        let mac = String::from_utf8_lossy(&mac.stdout).into_owned();
        assert!(mac.contains(servers[1]["mac"].as_str().unwrap()), "{said}");
        assert_eq!(report["findings"][0]["level"], "fault");
    }));
}

#[test]
fn it_takes_no_lease() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let mut server = cable.dnsmasq(Place::Server, &[RANGE]);
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        server.wait_for("DHCPOFFER");
        let leases = std::fs::read_to_string(cable.path("srv0.leases")).unwrap_or_default();
        assert_eq!(leases, "");
        let (_, log) = server.stop("TERM");
        assert!(
            !log.contains("DHCPREQUEST") && !log.contains("DHCPACK"),
            "{log}"
        );
    }));
}

#[test]
fn the_played_clients_are_no_machines_and_no_boots() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    require_files!("/usr/lib/ipxe/snponly.efi" => "install ipxe");
    let full = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n\
        [[subnet]]\nnetwork = \"10.77.0.0/24\"\nranges = \"10.77.0.100-10.77.0.109\"\n";
    let proxy = "[[interface]]\nname = \"srv0\"\n";
    assert!(in_namespaces(|| {
        for config in [full, proxy] {
            let cable = Cable::new();
            let mut server = cable.serve(&cable.config(config));
            let (_, said) = cable.doctor(&[]);
            assert_has(&said, &["10.77.0.1 offers UEFI machines `snponly.efi`"]);
            // What was said before a real machine's first packet is done with when that is told of.
            cable.udhcpc(&["-x", "0x5d:0007", "-V", "PXEClient:Arch:00007:UNDI:003016"]);
            server.wait_for("new here: becomes known as `local`");
            for (what, about) in [("machine", "machines"), ("attempt", "attempts")] {
                let output = std::process::Command::new(cable::BOOTGATE)
                    .args([what, "list", "--format", "json", "--state"])
                    .arg(cable.path("state"))
                    .output()
                    .unwrap();
                let told = cable::told(&output);
                assert_eq!(told.lines().count(), 1, "{about}: {told}");
                assert!(!told.contains("02:b6:"), "{told}");
            }
            server.stop("TERM");
            sh("ip link del srv0");
        }
    }));
}

#[test]
fn silence_is_a_fault_and_so_is_a_proxy_alone() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(&said, &["FAIL  dhcp     no DHCP server answers"]);
        let _server = cable.serve(&cable.config("[[interface]]\nname = \"srv0\"\n"));
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(&said, &["nobody gives out addresses"]);
        // At the server's own end nobody is heard, which is no fault of the segment.
        let output = std::process::Command::new(cable::BOOTGATE)
            .args(["doctor", "--segment", "srv0", "--wait", "1"])
            .output()
            .unwrap();
        let said = cable::told(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_has(
            &said,
            &[
                "note  dhcp     no DHCP server is heard that gives out addresses; `bootgate` (process",
                "on another host",
            ],
        );
    }));
}

#[test]
fn a_file_that_nobody_gives_out_is_a_fault() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let folder = cable.path("tftp");
        std::fs::create_dir(&folder).unwrap();
        let root = format!("--tftp-root={}", folder.display());
        let boot = "--dhcp-boot=missing.efi,,10.77.0.1";
        let server = cable.dnsmasq(Place::Server, &[RANGE, boot]);
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(
            &said,
            &[
                "`missing.efi` from 10.77.0.1 by TFTP: no answer",
                "UDP port 69",
            ],
        );
        // UEFI HTTP Boot drops what is not of its class.
        assert_has(&said, &["without the class (option 60) `HTTPClient`"]);
        drop(server);
        let _server = cable.dnsmasq(Place::Server, &[RANGE, boot, "--enable-tftp", &root]);
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(&said, &["`missing.efi` from 10.77.0.1 by TFTP: refused"]);
    }));
}

#[test]
fn packets_that_do_not_fit_are_a_fault() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let _server = cable.serve(&cable.config("[[interface]]\nname = \"srv0\"\n"));
        // The cable loses what the client's end does not take.
        cable.client(&format!("ip link set {CLIENT} mtu 1400"));
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert_has(
            &said,
            &[
                "packets of `1400` bytes at most",
                "blocks of 512 bytes come, blocks of 1468 do not",
                "MTU of every switch",
            ],
        );
    }));
}

#[test]
fn without_an_address_it_says_what_was_not_tried() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let _server = cable.dnsmasq(Place::Server, &[RANGE]);
        cable.client(&format!("ip addr flush dev {CLIENT}"));
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        assert_has(
            &said,
            &[
                "port 4011, files, packet size and relays are not tried",
                "gives out addresses",
            ],
        );
        cable.client(&format!("ip link set {CLIENT} down"));
        assert_eq!(cable.doctor(&[]).0, Some(3));
    }));
}

/// What a made-up DHCP server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// A proxy whose port 4011 is behind a firewall.
    Blocked4011,
    /// A server that forgets the relay's option 82.
    NoOption82,
    /// A server that answers a relay in the name of another.
    WrongGiaddr,
}

/// A server that answers every DISCOVER, in a thread of its own. Options are put together by hand, as broken ones are.
fn broken_server(fault: Fault) -> Arc<AtomicUsize> {
    let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
    socket.set_broadcast(true).unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let mut reply = buffer[..240].to_vec();
            let option_82 = buffer[240..length]
                .windows(2)
                .position(|pair| pair == [82, 17]);
            let relay = Ipv4Addr::from(<[u8; 4]>::try_from(&buffer[24..28]).unwrap());
            reply[0] = 2;
            reply.extend([53, 1, 2, 54, 4, 10, 77, 0, 1]);
            if fault == Fault::Blocked4011 {
                reply.extend([60, 9]);
                reply.extend(b"PXEClient");
            } else {
                reply[16..20].copy_from_slice(&[10, 77, 0, 200]);
                reply.extend([1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 1, 0]);
            }
            if fault == Fault::WrongGiaddr && !relay.is_unspecified() {
                reply[24..28].copy_from_slice(&[10, 77, 0, 77]);
                let at = 240 + option_82.unwrap();
                reply.extend(&buffer[at..at + 19]);
            }
            reply.push(255);
            reply.resize(300, 0);
            let to = if relay.is_unspecified() {
                SocketAddrV4::new(Ipv4Addr::BROADCAST, 68)
            } else {
                SocketAddrV4::new(relay, 67)
            };
            socket.send_to(&reply, to).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    answered
}

#[test]
fn a_proxy_behind_a_firewall_is_found() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        sh("ip route add 255.255.255.255 dev srv0");
        let answered = broken_server(Fault::Blocked4011);
        let (code, said) = cable.doctor(&[]);
        assert!(answered.load(Ordering::Relaxed) > 0);
        assert_eq!(code, Some(1), "{said}");
        assert_has(
            &said,
            &[
                "FAIL  4011     10.77.0.1 offers UEFI machines a boot, and does not answer on port 4011",
                "UDP port 4011",
            ],
        );
    }));
}

/// What is said of a server that answers relays like this.
fn relays_find(fault: Fault, part: &str) {
    let cable = Cable::new();
    sh("ip route add 255.255.255.255 dev srv0");
    let answered = broken_server(fault);
    let (code, said) = cable.doctor(&[]);
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert_eq!(code, Some(1), "{said}");
    assert_has(&said, &["FAIL  relay", part]);
}

#[test]
fn a_server_that_loses_option_82_is_found() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    let part = "10.77.0.1 answers relays without their option 82";
    assert!(in_namespaces(|| relays_find(Fault::NoOption82, part)));
}

#[test]
fn a_server_that_answers_another_relay_is_found() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    let part = "answers the relay 10.77.0.9 with another `giaddr`, `10.77.0.77`";
    assert!(in_namespaces(|| relays_find(Fault::WrongGiaddr, part)));
}
