//! Metrics, health and what a service manager is told of `bootgate serve`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, Program, sh};

const LAB: &str = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n[[subnet]]\nnetwork = \"10.77.0.0/24\"\n\
    ranges = \"10.77.0.100-10.77.0.109\"\n\n[metrics]\nlisten = \"127.0.0.1:9568\"\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body of a request.
fn asked(mut stream: impl Read + Write, path: &str) -> (u16, String) {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

fn get(path: &str) -> (u16, String) {
    asked(TcpStream::connect("127.0.0.1:9568").expect("connect"), path)
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let line = line.unwrap_or_else(|| panic!("no `{series}` in {page}"));
    line.trim().parse().expect("a number")
}

/// A page in Prometheus' text format: each series is announced by HELP and TYPE, and has a number.
fn assert_well_formed(page: &str) {
    let mut kind = ("", "");
    let mut helped = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().expect("a name");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').expect("a type");
            assert_eq!(helped, kind.0, "{line}");
        } else {
            let (series, number) = line.rsplit_once(' ').expect("a value");
            number.parse::<f64>().expect("a number");
            let name = series.split('{').next().expect("a name");
            let base = match kind.1 {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .expect("a part of a histogram"),
                _ => name,
            };
            assert_eq!(base, kind.0, "{line}");
            assert!(kind.1 != "counter" || name.ends_with("_total"), "{line}");
        }
    }
}

fn promtool(page: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run promtool");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(page.as_bytes()).expect("the page");
    drop(input);
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{}", cable::told(&output));
}

#[test]
fn what_is_served_is_counted_and_no_machine_is_named() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "python3");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let boot = cable.path("boot");
        std::fs::create_dir(&boot).expect("a folder");
        std::fs::write(boot.join("a.bin"), vec![7; 5000]).expect("a file");
        let boot = format!("{LAB}\n[boot]\nfolder = {:?}\n", boot.display().to_string());
        let server = cable.serve(&cable.config(&boot));
        assert!(
            server
                .said
                .contains("metrics on http://127.0.0.1:9568/metrics"),
            "{}",
            server.said
        );
        let fresh = get("/metrics").1;
        let free = "bootgate_dhcp_addresses{state=\"free\",subnet=\"10.77.0.0/24\"}";
        assert_eq!(value(&fresh, free), 10.0, "{fresh}");
        cable.udhcpc(&[]).expect("an address");
        let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
        cable.udhcpc(&firmware).expect("an address");
        cable.client("python3 -c \"import urllib.request as u; assert len(u.urlopen('http://10.77.0.1/artifacts/a.bin').read()) == 5000\"");
        let page = get("/metrics").1;
        assert_well_formed(&page);
        let discover = |client: &str| {
            format!(
                "bootgate_dhcp_messages_total{{answer=\"offer\",client=\"{client}\",message=\"discover\",mode=\"full\",service=\"dhcp\"}}"
            )
        };
        assert!(value(&page, &discover("os")) >= 1.0, "{page}");
        assert!(value(&page, &discover("firmware")) >= 1.0, "{page}");
        assert_eq!(
            value(
                &page,
                "bootgate_dhcp_addresses{state=\"leased\",subnet=\"10.77.0.0/24\"}"
            ),
            1.0,
            "{page}"
        );
        assert_eq!(
            value(&page, "bootgate_transfer_bytes_total{protocol=\"http\"}"),
            5000.0,
            "{page}"
        );
        assert_eq!(
            value(
                &page,
                "bootgate_transfers_total{protocol=\"http\",result=\"completed\"}"
            ),
            1.0,
            "{page}"
        );
        assert_eq!(
            value(&page, "bootgate_open_transfers{protocol=\"http\"}"),
            0.0,
            "{page}"
        );
        assert_eq!(value(&page, "bootgate_ready"), 1.0, "{page}");
        assert!(
            value(&page, "process_resident_memory_bytes") > 0.0,
            "{page}"
        );
        let mac = cable.client("ip -br link show cli0 | awk '{ print $3 }'");
        assert!(
            !page.contains(mac.trim()) && !page.contains("10.77.0.10"),
            "{page}"
        );
        // The operators' socket has the same.
        let socket = UnixStream::connect(cable.path("state/control.sock")).expect("connect");
        assert!(
            asked(socket, "/metrics")
                .1
                .contains("bootgate_build_info{version=")
        );
        if bootgate_testkit::command_exists("promtool") {
            promtool(&page);
        }
    }));
}

#[test]
fn readiness_goes_first_and_health_last() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "python3");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let boot = cable.path("boot");
        std::fs::create_dir(&boot).expect("a folder");
        std::fs::write(boot.join("big.bin"), vec![7; 48 << 20]).expect("a file");
        let text = format!("{LAB}\n[boot]\nfolder = {:?}\n", boot.display().to_string());
        let mut server = cable.serve(&cable.config(&text));
        assert_eq!(get("/healthz"), (200, "alive\n".to_owned()));
        assert_eq!(get("/readyz"), (200, "ready\n".to_owned()));
        let mut held = TcpStream::connect("10.77.0.1:80").expect("connect");
        held.write_all(b"GET /artifacts/big.bin HTTP/1.0\r\n\r\n")
            .expect("ask");
        held.read_exact(&mut [0; 100]).expect("it begins");
        sh(&format!("kill -TERM {}", server.pid()));
        server.wait_for("waiting up to");
        assert_eq!(
            get("/readyz"),
            (503, "not ready: the server stops\n".to_owned())
        );
        assert_eq!(get("/healthz"), (200, "alive\n".to_owned()));
        drop(held);
        assert_eq!(server.wait().code(), Some(0), "{}", server.said);
    }));
}

/// What a service manager hears, up to the message with this line.
fn heard(manager: &UnixDatagram, line: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let len = manager
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("no `{line}` ({error}): {all:?}"));
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        let last = text.lines().any(|one| one == line);
        all.push(text);
        if last {
            return all;
        }
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_health_and_stop() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let config = cable.config(LAB);
        let path = cable.path("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("patience");
        let server = started(&config, &path);
        heard(&manager, "READY=1");
        heard(&manager, "WATCHDOG=1");
        heard(&manager, "WATCHDOG=1");
        sh(&format!("kill -HUP {}", server.pid()));
        let reload = heard(&manager, "RELOADING=1");
        let last = reload.last().expect("one");
        assert!(last.contains("MONOTONIC_USEC="), "{last}");
        heard(&manager, "READY=1");
        let (status, said) = server.stop("TERM");
        assert_eq!(status.code(), Some(0), "{said}");
        let stop = heard(&manager, "STOPPING=1");
        assert!(
            stop.last().expect("one").contains("EXTEND_TIMEOUT_USEC="),
            "{stop:?}"
        );
    }));
}

/// The server, as a service manager with a watchdog of two seconds starts it.
fn started(config: &Path, notify: &Path) -> Program {
    let mut command = Command::new("sh");
    let line = format!(
        "export NOTIFY_SOCKET={} WATCHDOG_USEC=2000000 WATCHDOG_PID=$$; exec {BOOTGATE} serve --config {}",
        notify.display(),
        config.display()
    );
    command.args(["-c", &line]);
    Program::start(command)
}
