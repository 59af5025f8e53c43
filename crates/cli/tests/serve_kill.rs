//! SIGKILL at any moment: no lease, armed flash or attempt that was acknowledged is lost, and none is invented.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bootgate_testkit::{Dice, in_namespaces, require_commands, require_root};
use lab::{Lab, SERVER, serving, sh};
use relay::{Relay, in_client, mac_of};

const KILLS: u32 = 50;
const FIRST_MACHINE: u32 = 0xff00_0000;

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_at_any_moment() {
    require_root!();
    require_commands!("ip", "curl");
    let ran = in_namespaces(|| {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .subsec_nanos();
        println!("seed {seed}");
        let mut dice = Dice(u64::from(seed) | 1);
        relay::cable();
        let mut lab = lab();
        let mut relay = Relay::new();
        let mut armed: BTreeSet<u32> = BTreeSet::new();
        let mut client = 0;
        for round in 0..KILLS {
            lab.serve();
            // What was given before the server died is still good.
            if let Some((client, (ip, nonce))) = relay.nonces.last_key_value() {
                let path = format!("http://{SERVER}/api/v1/attempts/{nonce}/plan");
                let plan = in_client(&format!("curl -s --max-time 5 --interface {ip} {path}"));
                assert!(
                    plan.contains("flash"),
                    "round {round}: {} has {plan}",
                    mac_of(*client)
                );
            }
            let end = Instant::now() + Duration::from_micros(dice.below(400_000));
            // One order for a flash goes in beside the leases; whether it is acknowledged is seen by its exit code.
            let machine = FIRST_MACHINE + round;
            let mut order = Command::new(lab::BOOTGATE)
                .args([
                    "machine",
                    "arm",
                    &mac_of(machine),
                    "--image",
                    "small",
                    "--disk",
                    "path=/dev/vda",
                ])
                .env("BOOTGATE_STATE", lab.path("state"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("an operator");
            let killed = std::thread::scope(|scope| {
                let pid = lab.pid();
                let killer = scope.spawn(move || {
                    std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
                    sh(&format!("kill -KILL {pid}"));
                });
                // A machine that was armed in the round before boots.
                if let Some(machine) = machine.checked_sub(1).filter(|m| armed.contains(m)) {
                    let _ = relay.boot(machine);
                }
                while !killer.is_finished() {
                    client += 1;
                    let _ = relay.lease(client, &[]);
                }
                killer.join()
            });
            killed.expect("killed");
            lab.kill();
            if order.wait().expect("the operator ends").success() {
                armed.insert(machine);
            }
            check(&lab, &relay, &armed, round);
        }
        assert!(
            relay.nonces.len() > 5,
            "{} machines booted",
            relay.nonces.len()
        );
        assert!(
            relay.acked.len() > 100,
            "{} leases were granted",
            relay.acked.len()
        );
        println!(
            "{} leases, {} orders acknowledged over {KILLS} kills",
            relay.acked.len(),
            armed.len()
        );
    });
    assert!(ran);
}

fn lab() -> Lab {
    let more = r#"
[limits]
leases = 60000

[live]
kernel = "@/none"
initrd = ["@/none"]

[[image]]
name = "small"
folder = "@/small"
"#;
    let lab = Lab::new(&serving(16, "10.77.1.0-10.77.250.255", more));
    std::fs::write(lab.path("none"), "x").expect("a file");
    let raw = lab.path("raw");
    std::fs::write(&raw, vec![7; 1 << 20]).expect("an image");
    let (raw, out) = (
        raw.display().to_string(),
        lab.path("small").display().to_string(),
    );
    lab.bootgate(&["media", "chunks", &raw, "--out", &out]);
    lab
}

/// What was acknowledged is there, and nothing else is.
fn check(lab: &Lab, relay: &Relay, armed: &BTreeSet<u32>, round: u32) {
    let leases = lab.list(&["lease", "list"]);
    let mut stored = BTreeMap::new();
    for lease in &leases {
        let ip: Ipv4Addr = lease["ip"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("an address");
        stored.insert(ip, lease["mac"].as_str().expect("a machine").to_owned());
    }
    for (ip, client) in &relay.acked {
        assert_eq!(
            stored.get(ip),
            Some(&mac_of(*client)),
            "round {round}: {ip} was acknowledged"
        );
    }
    let asked: BTreeSet<String> = relay.asked.iter().map(|client| mac_of(*client)).collect();
    for (ip, mac) in &stored {
        assert!(
            asked.contains(mac),
            "round {round}: {ip} is {mac}'s, which never asked"
        );
    }
    let machines = lab.list(&["machine", "list"]);
    for mac in armed {
        let mac = mac_of(*mac);
        let machine = machines.iter().find(|machine| machine["mac"] == *mac);
        let mode = machine.map(|machine| machine["boot"]["mode"].clone());
        assert_eq!(
            mode,
            Some("flash-once".into()),
            "round {round}: {mac} was armed"
        );
    }
    assert!(
        machines.len() <= round as usize + 1,
        "round {round}: machines out of nowhere"
    );
    let attempts = lab.list(&["attempt", "list", "--limit", "1000"]);
    for client in relay.nonces.keys() {
        let attempt = attempts
            .iter()
            .find(|attempt| attempt["mac"] == *mac_of(*client));
        let nonces = attempt.and_then(|attempt| attempt["nonces"].as_u64());
        assert_eq!(
            nonces,
            Some(1),
            "round {round}: {} was given a nonce",
            mac_of(*client)
        );
    }
    for attempt in &attempts {
        let mac = attempt["mac"].as_str().expect("a machine");
        assert!(asked.contains(mac), "round {round}: {mac} never booted");
    }
}
