//! `bootgate serve` on an interface: what it needs to start, and how it stops.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::process::Command;

use bootgate_testkit::{in_namespaces, require_commands, require_files, require_root};
use cable::{BOOTGATE, Cable, Place, SERVER, sh, told};

const FULL: &str = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n\
    [[subnet]]\nnetwork = \"10.77.0.0/24\"\nranges = \"10.77.0.100-10.77.0.109\"\nrouter = \"10.77.0.254\"\n";
const PROXY: &str = "[[interface]]\nname = \"srv0\"\n";
/// dnsmasq's pool, apart from the one above.
const RANGE: &str = "--dhcp-range=10.77.0.200,10.77.0.209,5m";

#[test]
fn it_serves_until_it_is_told_to_stop_and_leaves_nothing_behind() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(FULL);
        let mut address = None;
        for (round, signal) in ["TERM", "INT"].into_iter().enumerate() {
            let server = cable.serve(&config);
            assert!(
                server
                    .said
                    .contains("srv0       10.77.0.1/24  full  69    80    10.77.0.100-10.77.0.109"),
                "{}",
                server.said
            );
            // Whoever has leased addresses before is the segment's server.
            assert_eq!(
                server.said.contains("looking for other DHCP servers"),
                round == 0,
                "{}",
                server.said
            );
            let env = cable.udhcpc(&[]).expect("an address");
            let ip = env
                .lines()
                .find(|line| line.starts_with("ip="))
                .map(str::to_owned);
            assert!(env.contains("router=10.77.0.254"), "{env}");
            assert_eq!(address.get_or_insert(ip.clone()), &ip, "the address stays");
            let (status, said) = server.stop(signal);
            assert_eq!(status.code(), Some(0), "{said}");
            assert!(said.contains("stopping"), "{said}");
            assert!(!cable.path("state/control.sock").exists());
            assert_eq!(sh("ss -Hlnu; ss -Hlnt"), "", "every port is free");
        }
    }));
}

#[test]
fn a_machine_that_boots_is_told_of_and_is_there() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let mut server = cable.serve(&cable.config(FULL));
        let firmware = ["-x", "0x5d:0007", "-V", "PXEClient:Arch:00007:UNDI:003016"];
        cable.udhcpc(&firmware).expect("an address");
        server.wait_for("boots `local`, attempt a0000000001");
        let line = server.wait_for("new here: becomes known as `local`");
        let mac =
            cable.client("cat /sys/class/net/cli0/address 2>/dev/null || ip -o link show cli0");
        let mac = mac
            .split_whitespace()
            .find(|word| word.len() == 17 && word.matches(':').count() == 5);
        assert!(line.contains(mac.expect("an address")), "{line}");
    }));
}

#[test]
fn it_does_not_begin_where_another_server_gives_out_addresses() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let other = cable.dnsmasq(Place::Client, &[RANGE]);
        let (code, said) = cable.fails(&cable.config(FULL));
        assert_eq!(code, Some(3), "{said}");
        let mac = cable.client("ip -o link show cli0");
        let mac = mac
            .split("link/ether ")
            .nth(1)
            .and_then(|rest| rest.get(..17));
        for part in [
            "`srv0`",
            "10.77.0.9",
            mac.expect("an address"),
            "10.77.0.20",
            "dhcp = \"proxy\"",
            "beside_others",
        ] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        assert!(!said.contains("state in"), "it served: {said}");
        // Meant to be: it is told of, and nothing more.
        let beside = FULL.replace("dhcp = \"full\"", "dhcp = \"full\"\nbeside_others = true");
        let mut server = cable.serve(&cable.config(&beside));
        let line = server.wait_for("ANOTHER DHCP SERVER on srv0: 10.77.0.9");
        assert!(line.contains(mac.expect("an address")), "{line}");
        drop(other);
    }));
}

#[test]
fn an_intruder_does_not_stop_the_segments_own_server() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq", "udhcpc");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(FULL);
        let server = cable.serve(&config);
        cable.udhcpc(&[]).expect("an address");
        server.stop("TERM");
        let _intruder = cable.dnsmasq(Place::Client, &[RANGE]);
        let mut server = cable.serve(&config);
        server.wait_for("ANOTHER DHCP SERVER on srv0: 10.77.0.9");
    }));
}

#[test]
fn a_proxy_works_beside_a_dhcp_server() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    require_files!(
        "/usr/lib/ipxe/undionly.kpxe" => "install ipxe",
        "/usr/lib/ipxe/snponly.efi" => "install ipxe",
    );
    assert!(in_namespaces(|| {
        let cable = Cable::wide();
        let config = cable.config(&PROXY.replace("srv0", "br0"));
        let mut server = cable.serve(&config);
        server.wait_for("no DHCP server answers on br0");
        let _dhcp = cable.dnsmasq(Place::Third, &[RANGE]);
        // A client that does not boot hears nothing of the proxy.
        let env = cable.udhcpc(&[]).expect("an address");
        assert!(env.contains("serverid=10.77.0.2"), "{env}");
        let (code, said) = cable.doctor(&[]);
        assert_eq!(code, Some(0), "{said}");
        for part in [
            "10.77.0.2 (",
            ") gives out addresses",
            "10.77.0.1 offers BIOS machines `undionly.kpxe`",
            "10.77.0.1 answers on port 4011",
            "10.77.0.1 offers UEFI machines `snponly.efi`",
            "artifacts/snponly.efi` is there",
        ] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        // What was played is no machine's boot.
        let (_, log) = server.stop("TERM");
        assert!(!log.contains("boots `local`"), "{log}");
    }));
}

#[test]
fn a_taken_port_names_its_holder() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let _holder = cable.dnsmasq(Place::Server, &[RANGE]);
        let (code, said) = cable.fails(&cable.config(PROXY));
        assert_eq!(code, Some(3), "{said}");
        for part in ["already in use", "`dnsmasq` (process ", "except-interface"] {
            assert!(said.contains(part), "no {part} in {said}");
        }
    }));
}

#[test]
fn an_interface_that_cannot_be_served_says_what_to_do() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(PROXY);
        let elsewhere = cable.path("elsewhere.toml");
        for (text, part) in [
            (
                "[[interface]]\nname = \"srv0\"\naddress = \"10.77.0.2\"\n",
                "ip address add 10.77.0.2/24 dev srv0",
            ),
            (&*FULL.replace("10.77.0.", "10.78.0."), "is in no subnet"),
            (
                &*format!("{FULL}ipv6 = {{ prefix = \"fd00:77::/64\" }}\n"),
                "ip address add fd00:77::1/64 dev srv0",
            ),
            ("[[interface]]\nname = \"lo\"\n", "not Ethernet"),
        ] {
            std::fs::write(&elsewhere, text).expect("a configuration");
            let (code, said) = cable.fails(&elsewhere);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains(part), "no {part} in {said}");
        }
        for (change, part) in [
            (
                "ip addr flush dev srv0",
                "ip address add 10.0.0.1/24 dev srv0",
            ),
            ("ip link set srv0 down", "ip link set srv0 up"),
        ] {
            sh(change);
            let (code, said) = cable.fails(&config);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains(part), "no {part} in {said}");
        }
    }));
}

#[test]
fn one_state_has_one_server() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(PROXY);
        let _server = cable.serve(&config);
        let (code, said) = cable.fails(&config);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("one server has one state folder"), "{said}");
    }));
}

#[test]
fn json_lines_are_json() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let mut command = Command::new(BOOTGATE);
        command
            .args(["serve", "--format", "json", "--config"])
            .arg(cable.config(FULL));
        let mut server = cable::Program::start(command);
        let line = server.wait_for("\"serving\"");
        let first: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(first["serving"][0]["address"], "10.77.0.1");
        let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
        cable.udhcpc(&firmware).expect("an address");
        let line = server.wait_for("attempt-opened");
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["kind"], "attempt-opened");
    }));
}

#[test]
fn a_segment_is_woken_by_frame_and_by_datagram() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let udp = std::net::UdpSocket::bind("0.0.0.0:9").expect("a socket");
        udp.set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .expect("a deadline");
        let interface = bootgate_hostnet::host::HostInterface::open(SERVER).expect("the interface");
        let frames = interface.packet_socket(0x0842).expect("a packet socket");
        let output = cable
            .at_client(BOOTGATE)
            .args(["wol", "52:54:00:12:34:56", "--interface", "cli0"])
            .output();
        let output = output.expect("run bootgate");
        assert!(output.status.success(), "{}", told(&output));
        let magic = [
            vec![0xff; 6],
            [0x52, 0x54, 0x00, 0x12, 0x34, 0x56].repeat(16),
        ]
        .concat();
        let mut buffer = [0; 2048];
        let (length, _) = udp.recv_from(&mut buffer).expect("a datagram");
        assert_eq!(buffer[..length], magic);
        // It came before the datagram did.
        let length = rustix::io::read(&frames.fd, &mut buffer).expect("a frame");
        assert_eq!(buffer[..6], [0xff; 6]);
        assert_eq!(buffer[14..length], magic);
        let output = cable
            .at_client(BOOTGATE)
            .args(["wol", "52:54:00:12:34:56", "--interface", "none0"])
            .output();
        assert_eq!(output.expect("run bootgate").status.code(), Some(3));
    }));
}

#[test]
fn a_machine_is_woken_by_its_name() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let state = cable.path("state").display().to_string();
        let bootgate = |args: &[&str]| {
            let output = cable
                .at_client(BOOTGATE)
                .args(args)
                .env("BOOTGATE_STATE", &state)
                .output()
                .expect("run bootgate");
            (output.status.code(), told(&output))
        };
        let wol = ["wol", "node1", "--interface", "cli0"];
        assert_eq!(bootgate(&wol).0, Some(3), "nothing is stored");
        let set = bootgate(&["machine", "set", "52:54:00:12:34:56", "--name", "node1"]);
        assert_eq!(set.0, Some(0), "{}", set.1);
        let (code, said) = bootgate(&wol);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("woke 52:54:00:12:34:56 on cli0"), "{said}");
    }));
}

#[test]
fn interfaces_of_one_network_are_told_of() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        sh(
            "ip link add srv1 type veth peer name cli1; ip addr add 10.77.0.130/25 dev srv1; ip link set srv1 up",
        );
        let both = format!("{PROXY}\n[[interface]]\nname = \"srv1\"\n");
        let server = cable.serve(&cable.config(&both));
        let note =
            "note: srv0 (10.77.0.1/24) and srv1 (10.77.0.130/25) are in overlapping networks";
        assert!(server.said.contains(note), "{}", server.said);
        server.stop("TERM");
        sh("ip addr flush dev srv1; ip addr add 10.78.0.1/24 dev srv1");
        let server = cable.serve(&cable.config(&both));
        assert!(!server.said.contains("overlapping"), "{}", server.said);
    }));
}

#[test]
fn a_proxy_beside_a_dhcp_server_of_this_host_says_who_has_the_port_and_nothing_else() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "dnsmasq");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let _dhcp = cable.dnsmasq(Place::Server, &[RANGE]);
        let (code, said) = cable.fails(&cable.config(PROXY));
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("`dnsmasq` (process"), "{said}");
        assert!(!said.contains("no DHCP server answers"), "{said}");
    }));
}

#[test]
fn a_state_folder_of_another_user_is_told() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "setpriv");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(PROXY);
        sh(&format!("chmod 755 {}", cable.folder.path().display()));
        std::fs::create_dir(cable.path("state")).expect("a folder");
        sh(&format!("chmod 700 {}", cable.path("state").display()));
        let program = cable.path("bootgate");
        std::fs::copy(BOOTGATE, &program).expect("a copy that others may run");
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["serve", "--config"])
            .arg(&config)
            .output()
            .expect("run setpriv");
        let said = told(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains("the user whose folder it is"), "{said}");
    }));
}
