//! What `bootgate serve --format json` writes: JSON alone, with time, level and machine, and no secret.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::process::{Command, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, sh};
use serde_json::Value;

const LAB: &str = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n[[subnet]]\nnetwork = \"10.77.0.0/24\"\n\
    ranges = \"10.77.0.100-10.77.0.109\"\n\n[discovery]\nmode = \"inventory\"\n\n[live]\nkernel = \"vmlinuz\"\n";

fn values(text: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(read).collect()
}

#[test]
fn each_line_of_both_outputs_is_json_and_none_has_a_nonce() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "curl");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        std::fs::write(cable.path("vmlinuz"), "a kernel").expect("a file");
        let config = cable.config(LAB);
        let (out, err) = (cable.path("out"), cable.path("err"));
        let file = |path| Stdio::from(std::fs::File::create(path).expect("a file"));
        let mut server = Command::new(BOOTGATE)
            .args(["serve", "--format", "json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .expect("start the server");
        let read = |path| std::fs::read_to_string(path).expect("an output");
        let until = |path, text: &str| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while !read(path).contains(text) {
                assert!(
                    std::time::Instant::now() < end,
                    "no `{text}`: {}",
                    read(path)
                );
                std::thread::park_timeout(std::time::Duration::from_millis(50));
            }
        };
        until(&out, "\"serving\"");
        let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
        let env = cable.udhcpc(&firmware).expect("an address");
        let ip = env
            .lines()
            .find_map(|line| line.strip_prefix("ip="))
            .expect("an address");
        cable.client(&format!("ip addr add {ip}/24 dev cli0"));
        let mac = cable.client("ip -br link show cli0 | awk '{ print $3 }'");
        let mac = mac.trim();
        let ask =
            |path: &str| cable.client(&format!("curl -s --interface {ip} http://10.77.0.1{path}"));
        let script = ask(&format!("/boot/{mac}/boot.ipxe"));
        let nonce = script.split("bootgate.nonce=").nth(1).expect("a nonce");
        let nonce: String = nonce.chars().take(32).collect();
        // A good call, one that is none, and one with another's nonce.
        ask(&format!("/api/v1/attempts/{nonce}/plan"));
        ask(&format!("/api/v1/attempts/{nonce}/nothing"));
        ask(&format!("/api/v1/attempts/{}/plan", "a".repeat(32)));
        until(&out, "stale-callback");
        sh(&format!("kill -HUP {}", server.id()));
        until(&err, "nothing changed");
        // From here on the parts say all that they have to say.
        let chatty = format!("{LAB}\n[log]\nlevel = \"debug\"\nhttp = \"off\"\n");
        assert_eq!(cable.config(&chatty), config);
        sh(&format!("kill -HUP {}", server.id()));
        until(&err, "log: changed");
        ask("/artifacts/%2e%2e/secret");
        sh(&format!("kill -TERM {}", server.id()));
        // The machine has its script, and is waited for.
        until(&err, "waiting up to");
        sh(&format!("kill -TERM {}", server.id()));
        server.wait().expect("it ends");

        let (out, err) = (read(&out), read(&err));
        assert!(!out.contains(&nonce) && !err.contains(&nonce), "{out}{err}");
        let out = values(&out);
        assert!(out[0]["serving"].is_array(), "{}", out[0]);
        assert!(out.len() > 5, "{out:?}");
        for event in &out[1..] {
            for key in ["time", "level", "part", "kind", "attempt", "mac"] {
                assert!(event[key].is_string(), "no {key}: {event}");
            }
            assert_eq!(event["mac"], mac, "{event}");
        }
        let err = values(&err);
        assert!(!err.is_empty());
        for line in err {
            for key in ["time", "level", "part", "message"] {
                assert!(line[key].is_string(), "no {key}: {line}");
            }
        }
    }));
}
