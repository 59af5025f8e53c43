//! `bootgate serve` reads its configuration again while it serves, and stops when what is under way is done.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, sh, told};

/// Bytes of the file that is fetched slowly; no socket's buffers hold so many.
const SIZE: usize = 48 << 20;

fn operator(cable: &Cable, arguments: &[&str]) -> Output {
    Command::new(BOOTGATE)
        .args(arguments)
        .env("BOOTGATE_STATE", cable.path("state"))
        .env("NO_COLOR", "1")
        .output()
        .expect("run bootgate")
}

fn full(ranges: &str, more: &str) -> String {
    format!(
        "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n[[subnet]]\nnetwork = \"10.77.0.0/24\"\n\
         ranges = \"{ranges}\"\n\n{more}"
    )
}

/// A client that has asked for a file and reads it when it is told to.
struct Slow {
    child: Child,
}

impl Slow {
    fn fetch(cable: &Cable, name: &str) -> Self {
        let script = format!(
            "import socket,sys\n\
             s=socket.create_connection(('10.77.0.1',80))\n\
             s.sendall(b'GET /artifacts/{name} HTTP/1.0\\r\\n\\r\\n')\n\
             d=s.recv(1000)\n\
             print('begun',flush=True)\n\
             sys.stdin.readline()\n\
             n=len(d.split(b'\\r\\n\\r\\n',1)[1])\n\
             while True:\n  d=s.recv(1<<20)\n  if not d: break\n  n+=len(d)\n\
             print(n)\n"
        );
        let mut child = cable
            .at_client("python3")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run python3");
        let mut begun = [0; 6];
        let output = child.stdout.as_mut().expect("its output");
        output.read_exact(&mut begun).expect("the download begins");
        assert_eq!(&begun, b"begun\n");
        Self { child }
    }

    /// Reads the rest; how many bytes came in all.
    fn rest(mut self) -> usize {
        let mut input = self.child.stdin.take().expect("its input");
        input.write_all(b"go\n").expect("told");
        let mut text = String::new();
        let output = self.child.stdout.as_mut().expect("its output");
        output.read_to_string(&mut text).expect("its count");
        self.child.wait().expect("it ends");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(cable: &Cable) -> String {
    let folder = cable.path("boot");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("big.bin"), vec![7; SIZE]).expect("a file");
    format!("[boot]\nfolder = {:?}\n", folder.display().to_string())
}

fn status(cable: &Cable) -> serde_json::Value {
    let output = operator(cable, &["status", "--format", "json"]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Where TCP (`t`) or UDP (`u`) sockets are bound, as `ADDRESS:PORT`.
fn sockets(kind: &str) -> String {
    // A socket of one interface is shown as `ADDRESS%INTERFACE:PORT`.
    sh(&format!(
        "ss -Hln{kind} | awk '{{ sub(\"%[^:]*\", \"\", $4); print $4 }}'"
    ))
}

fn hangup(pid: u32) {
    sh(&format!("kill -HUP {pid}"));
}

fn write(path: &Path, cable: &Cable, text: &str) {
    assert_eq!(cable.config(text), path);
}

#[test]
fn what_changes_counts_at_once_and_a_download_goes_on_to_its_end() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "python3");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let boot = folder(&cable);
        let config = cable.config(&full("10.77.0.100-10.77.0.109", &boot));
        let mut server = cable.serve(&config);
        let before = cable.udhcpc(&[]).expect("an address");
        assert!(before.contains("ip=10.77.0.10"), "{before}");
        let slow = Slow::fetch(&cable, "big.bin");

        // Another pool, an own script, and discovery; the folder of files is no longer given out.
        let script = cable.path("menu.ipxe");
        std::fs::write(&script, "#!ipxe\nexit\n").expect("a script");
        let more = "[discovery]\nmode = \"script\"\nscript = \"menu\"\n\n\
            [[script]]\nname = \"menu\"\npath = \"menu.ipxe\"\n\n\
            [[reservation]]\nmac = \"02:00:00:00:00:77\"\naddress = \"10.77.0.77\"\n";
        write(&config, &cable, &full("10.77.0.200-10.77.0.209", more));
        hangup(server.pid());
        server.wait_for("discovery: changed");
        assert!(
            server.said.contains("subnet `10.77.0.0/24`: changed"),
            "{}",
            server.said
        );
        assert!(
            server.said.contains("script `menu`: new"),
            "{}",
            server.said
        );
        assert!(
            server.said.contains("folders of files: changed"),
            "{}",
            server.said
        );

        cable.client("ip link set cli0 down; ip link set cli0 address 02:00:00:00:00:77; ip link set cli0 up");
        let reserved = cable.udhcpc(&[]).expect("an address");
        assert!(reserved.contains("ip=10.77.0.77"), "{reserved}");
        cable.client("ip link set cli0 down; ip link set cli0 address 02:00:00:00:00:78; ip link set cli0 up");
        let ranged = cable.udhcpc(&[]).expect("an address");
        assert!(ranged.contains("ip=10.77.0.20"), "{ranged}");
        let explained = operator(&cable, &["explain", "02:00:00:00:00:79", "--as", "arch=7"]);
        assert!(
            told(&explained).contains("mode `script`"),
            "{}",
            told(&explained)
        );

        assert_eq!(slow.rest(), SIZE, "{}", server.said);
        let gone = cable.at_client("python3").args(["-c",
            "import urllib.request as u\ntry: u.urlopen('http://10.77.0.1/artifacts/big.bin')\nexcept Exception as e: print(e)"])
            .output().expect("run python3");
        assert!(told(&gone).contains("404"), "{}", told(&gone));
        let now = status(&cable);
        assert!(now["server"]["reload"]["at"].is_string(), "{now:#}");
        assert!(now["server"]["reload"]["refused"].is_null(), "{now:#}");
        let again = operator(&cable, &["reload"]);
        assert!(again.status.success(), "{}", told(&again));
        assert_eq!(told(&again), "nothing changed\n");
        let (ended, said) = server.stop("TERM");
        assert_eq!(ended.code(), Some(0), "{said}");
    }));
}

#[test]
fn a_wrong_configuration_is_refused_and_the_one_before_stays() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(&full("10.77.0.100-10.77.0.109", ""));
        let mut server = cable.serve(&config);
        let wrong = full("10.77.0.200-10.77.0.209", "[discovery]\nmode = \"flash\"\n");
        write(&config, &cable, &wrong);
        hangup(server.pid());
        let line = server.wait_for("REFUSED");
        // `[state]`, its folder and a blank line stand before.
        let place = format!("{}:13: `mode` cannot be `flash`", config.display());
        assert!(line.contains(&place), "{line}");
        server.wait_for("hint: a machine that anybody plugs in");
        let text = told(&operator(&cable, &["status"]));
        assert!(
            text.contains("REFUSED") && text.contains(":13:") && text.contains("hint:"),
            "{text}"
        );
        let env = cable.udhcpc(&[]).expect("an address");
        assert!(env.contains("ip=10.77.0.10"), "{env}");
        let refused = operator(&cable, &["reload"]);
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(told(&refused).contains(&place), "{}", told(&refused));

        // What only a new start can change, together with what could change at once.
        let text = std::fs::read_to_string(&config).expect("the file");
        let elsewhere = text
            .replace("/state\"", "/elsewhere\"")
            .replace("mode = \"flash\"", "mode = \"off\"");
        std::fs::write(&config, elsewhere).expect("a configuration");
        let refused = operator(&cable, &["reload"]);
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(
            told(&refused).contains("[state] folder cannot change"),
            "{}",
            told(&refused)
        );
        let explained = operator(&cable, &["explain", "02:00:00:00:00:79", "--as", "arch=7"]);
        assert!(
            told(&explained).contains("mode `local`"),
            "{}",
            told(&explained)
        );

        // An interface that is not there: its error, and nothing else changed.
        let text = full(
            "10.77.0.200-10.77.0.209",
            "[[interface]]\nname = \"none0\"\n",
        );
        write(&config, &cable, &text);
        let refused = operator(&cable, &["reload"]);
        assert!(
            told(&refused).contains("no network interface `none0`"),
            "{}",
            told(&refused)
        );
        drop(server);
    }));
}

#[test]
fn interfaces_come_and_go_and_change_without_touching_others() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "python3", "ss");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        sh(
            "ip link add oth0 type veth peer name oth1; ip addr add 10.78.0.1/24 dev oth0; ip link set oth0 up; ip link set oth1 up",
        );
        let boot = folder(&cable);
        let one = full("10.77.0.100-10.77.0.109", &boot);
        let two = format!("{one}\n[[interface]]\nname = \"oth0\"\nhttp_port = 8080\n");
        let config = cable.config(&one);
        let mut server = cable.serve(&config);
        let slow = Slow::fetch(&cable, "big.bin");

        write(&config, &cable, &two);
        hangup(server.pid());
        server.wait_for("interface `oth0`: served now, DHCP mode `proxy`");
        assert!(sockets("t").contains("10.78.0.1:8080"));
        assert!(sockets("u").contains("10.78.0.1:69"));

        // The first one gets other sockets for TFTP, and keeps the others: its download goes on.
        write(
            &config,
            &cable,
            &two.replace("dhcp = \"full\"", "dhcp = \"full\"\ntftp = false"),
        );
        hangup(server.pid());
        server.wait_for("interface `srv0`: changed");
        assert!(!sockets("u").contains("10.77.0.1:69"));
        assert!(sockets("t").contains("10.77.0.1:80"));
        assert!(
            cable
                .udhcpc(&[])
                .expect("an address")
                .contains("ip=10.77.0.10")
        );
        let after = Slow::fetch(&cable, "big.bin");

        // It stands behind the other one now, and its number changes with that.
        let moved = format!("[[interface]]\nname = \"oth0\"\nhttp_port = 8081\n\n{one}");
        write(&config, &cable, &moved);
        hangup(server.pid());
        server.wait_for("interface `oth0`: changed");
        assert!(sockets("t").contains("10.78.0.1:8081"));
        assert!(!sockets("t").contains("10.78.0.1:8080"));
        assert!(
            cable
                .udhcpc(&[])
                .expect("an address")
                .contains("ip=10.77.0.10")
        );

        write(&config, &cable, &one);
        hangup(server.pid());
        server.wait_for("interface `oth0`: no longer served");
        assert!(!sockets("t").contains("10.78.0.1"));
        assert!(
            cable
                .udhcpc(&[])
                .expect("an address")
                .contains("ip=10.77.0.10")
        );

        // IPv6 on the same interface, and away again.
        sh("ip -6 addr add fd00:77::1/64 dev srv0 nodad");
        cable.client("ip -6 addr add fd00:77::9/64 dev cli0 nodad");
        let ranges = "ranges = \"10.77.0.100-10.77.0.109\"";
        let six = format!("{ranges}\nipv6 = {{ prefix = \"fd00:77::/64\" }}");
        write(&config, &cable, &one.replace(ranges, &six));
        hangup(server.pid());
        server.wait_for("interface `srv0`: changed");
        assert!(sockets("u").contains("]:547") || sockets("u").contains("*:547"));
        let fetch = "python3 -c \"import urllib.request as u; print(len(u.urlopen('http://[fd00:77::1]/artifacts/big.bin').read()))\"";
        assert_eq!(cable.client(fetch).trim(), SIZE.to_string());
        let status = told(&operator(&cable, &["status"]));
        assert!(status.contains("dhcp6"), "{status}");
        write(&config, &cable, &one);
        hangup(server.pid());
        server.wait_for("interface `srv0`: changed");
        assert!(!sockets("u").contains(":547"));

        // A port that another program has: nothing changes.
        let taken = std::net::TcpListener::bind("10.78.0.1:8082").expect("a port");
        write(&config, &cable, &two.replace("8080", "8082"));
        let refused = operator(&cable, &["reload"]);
        assert!(
            told(&refused).contains("already in use"),
            "{}",
            told(&refused)
        );
        assert!(!sockets("u").contains("10.78.0.1"));
        drop(taken);

        assert_eq!(slow.rest(), SIZE, "{}", server.said);
        assert_eq!(after.rest(), SIZE, "{}", server.said);
        let (ended, said) = server.stop("TERM");
        assert_eq!(ended.code(), Some(0), "{said}");
    }));
}

#[test]
fn a_stop_waits_for_a_transfer_and_takes_nothing_new() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "python3");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let boot = folder(&cable);
        let config = cable.config(&full("10.77.0.100-10.77.0.109", &boot));
        let mut server = cable.serve(&config);
        let slow = Slow::fetch(&cable, "big.bin");
        sh(&format!("kill -TERM {}", server.pid()));
        server.wait_for("waiting up to 300 s for 1 transfer");
        assert_eq!(status(&cable)["server"]["stopping"], true);
        // Firmware is not answered any more; a system keeps its lease.
        let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
        assert!(cable.udhcpc(&firmware).is_none());
        assert!(cable.udhcpc(&[]).is_some());
        assert_eq!(slow.rest(), SIZE, "{}", server.said);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{}", server.said);
        assert!(!server.said.contains("broken off"), "{}", server.said);

        // The time that is given ends the wait, and so does a second signal.
        let short = full(
            "10.77.0.100-10.77.0.109",
            &format!("{boot}\n[limits]\nstop_wait = \"1s\"\n"),
        );
        write(&config, &cable, &short);
        let mut server = cable.serve(&config);
        let _slow = Slow::fetch(&cable, "big.bin");
        sh(&format!("kill -TERM {}", server.pid()));
        server.wait_for("1 transfer broken off");
        assert_eq!(server.wait().code(), Some(0), "{}", server.said);

        write(&config, &cable, &full("10.77.0.100-10.77.0.109", &boot));
        let mut server = cable.serve(&config);
        let _slow = Slow::fetch(&cable, "big.bin");
        sh(&format!("kill -TERM {}", server.pid()));
        server.wait_for("waiting up to 300 s");
        let (status, said) = server.stop("INT");
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("1 transfer broken off"), "{said}");
    }));
}
