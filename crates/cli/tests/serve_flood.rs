//! A stranger who invents hardware addresses neither takes the addresses that known machines need nor fills the disk.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;
mod relay;

use std::path::Path;
use std::time::{Duration, Instant};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use lab::{Lab, serving};
use relay::{IPXE, Relay, in_client, mac_of};

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(6);
const KNOWN: u32 = 1;

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the state");
    entries
        .map(|entry| entry.expect("an entry").metadata().expect("its size").len())
        .sum()
}

#[test]
fn a_flood_of_invented_machines_leaves_room_for_known_ones_and_on_the_disk() {
    require_root!();
    require_commands!("ip", "curl");
    let ran = in_namespaces(|| {
        relay::cable();
        // 50 addresses, and a flood of many thousand machines.
        let more = "\n[discovery]\nlimit = 40\n";
        let mut lab = Lab::new(&serving(16, "10.77.1.1-10.77.1.50", more));
        lab.serve();
        lab.bootgate(&["machine", "set", &mac_of(KNOWN), "--mode", "local"]);
        let mut relay = Relay::new();
        // Some go through with it, and take what they can get.
        let mut client = 1000;
        for _ in 0..60 {
            client += 1;
            let _ = relay.lease(client, IPXE);
        }
        let strangers = relay.acked.len();
        assert!(
            (20..=45).contains(&strangers),
            "{strangers} strangers took an address"
        );
        // The others only shout.
        let end = Instant::now() + FLOOD;
        while Instant::now() < end {
            client += 1;
            relay.send(&Relay::message(client, 1, IPXE));
        }
        assert!(client > 10_000, "{client} messages are no flood");
        let started = Instant::now();
        // A client asks again, as firmware does.
        let ip = (0..40).find_map(|_| relay.lease(KNOWN, IPXE));
        let ip = ip.expect("an address for the known machine");
        let mac = mac_of(KNOWN).replace(':', "-");
        let script = in_client(&format!(
            "ip addr add {ip}/16 dev cli0; curl -sf --max-time 5 --interface {ip} http://{}/boot/{mac}/boot.ipxe",
            lab::SERVER
        ));
        assert!(script.contains("sanboot"), "{script}");
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        let machines = lab.list(&["machine", "list"]);
        assert!(
            machines.len() <= 41,
            "{} machines became known",
            machines.len()
        );
        let status = lab.bootgate(&["status"]);
        assert!(status.contains("dhcp"), "{status}");
        let state = size_of(&lab.path("state"));
        assert!(state < 8 << 20, "the state has {state} bytes");
        lab.stop();
    });
    assert!(ran);
}
