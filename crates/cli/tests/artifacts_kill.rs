//! SIGKILL at any moment of an upload: no artifact that was acknowledged is lost, and none is there in part.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bootgate_testkit::{Dice, in_namespaces, require_commands, require_root};
use lab::{BOOTGATE, IFACE, Lab, sh};

const KILLS: u32 = 50;
/// Operators that upload at once.
const OPERATORS: u32 = 3;

#[test]
fn no_acknowledged_artifact_is_lost_and_none_is_there_in_part() {
    require_root!();
    require_commands!("ip", "sha256sum");
    let ran = in_namespaces(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.expect("a clock").subsec_nanos();
        println!("seed {seed}");
        let mut dice = Dice(u64::from(seed) | 1);
        relay::cable();
        // Without DHCP it does not look for other servers at each start.
        let mut lab = Lab::new(&format!(
            "[state]\nfolder = \"@/state\"\n[[interface]]\nname = \"{IFACE}\"\ndhcp = \"off\"\n"
        ));
        // Names, and the digests of the files that were ordered and acknowledged by them.
        let mut ordered: BTreeMap<String, String> = BTreeMap::new();
        let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
        let (mut cut_short, mut number) = (0, 0);
        for round in 0..KILLS {
            lab.serve();
            let uploads: Vec<_> = (0..OPERATORS)
                .map(|_| {
                    number += 1;
                    let name = format!("a{number}");
                    let size = [dice.below(4096), dice.below(16 << 20)][number % 2];
                    let mut bytes = vec![0; usize::try_from(size).expect("it fits")];
                    // Different files have different beginnings, which is enough.
                    for byte in bytes.iter_mut().take(64) {
                        *byte = u8::try_from(dice.below(256)).expect("a byte");
                    }
                    std::fs::write(lab.path(&name), bytes).expect("a file");
                    let digest = sh(&format!("sha256sum < '{}'", lab.path(&name).display()));
                    let digest = digest.split(' ').next().expect("a digest").to_owned();
                    ordered.insert(name.clone(), digest);
                    name
                })
                .map(|name| {
                    let upload = Command::new(BOOTGATE)
                        .args(["artifact", "upload", "--wait", "0"])
                        .arg(lab.path(&name))
                        .env("BOOTGATE_STATE", lab.path("state"))
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .spawn()
                        .expect("an operator");
                    (name, upload)
                })
                .collect();
            let end = Instant::now() + Duration::from_micros(dice.below(250_000));
            std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
            lab.kill();
            for (name, mut upload) in uploads {
                match upload.wait().expect("the operator ends").success() {
                    true => {
                        let digest = ordered.get(&name).cloned().expect("it was ordered");
                        acknowledged.insert(name.clone(), digest);
                    }
                    false => cut_short += 1,
                }
                std::fs::remove_file(lab.path(&name)).expect("remove the file");
            }
            check(&lab, &ordered, &acknowledged, round);
        }
        println!("{} acknowledged, {cut_short} cut short", acknowledged.len());
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        assert!(cut_short > 10, "{cut_short}");
    });
    assert!(ran);
}

fn check(
    lab: &Lab,
    ordered: &BTreeMap<String, String>,
    acknowledged: &BTreeMap<String, String>,
    round: u32,
) {
    let folder = lab.path("state/blobs/sha256");
    let whole = sh(&format!(
        "mkdir -p '{0}'; find '{0}' -type f -exec sha256sum {{}} +",
        folder.display()
    ));
    let whole: BTreeSet<&str> = whole.lines().filter_map(|line| line.get(..64)).collect();
    let mut there = BTreeMap::new();
    for artifact in lab.list(&["artifact", "list"]) {
        let text = |key: &str| artifact[key].as_str().expect("text").to_owned();
        let (name, digest) = (text("name"), text("sha256"));
        // Whatever is listed is whole, whether or not anybody heard of it.
        assert_eq!(ordered.get(&name), Some(&digest), "round {round}: {name}");
        assert!(whole.contains(digest.as_str()), "round {round}: {name}");
        there.insert(name, digest);
    }
    for (name, digest) in acknowledged {
        assert_eq!(
            there.get(name),
            Some(digest),
            "round {round}: {name} was acknowledged"
        );
    }
}
