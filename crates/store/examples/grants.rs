//! How long a batch of grants takes on this disk: `cargo run --release -p bootgate-store --example grants [FOLDER]`.
//!
//! A sync of the disk alone is measured beside it: what a batch takes beyond one is the store's own work. The same in
//! `/dev/shm`, where a sync costs nothing, shows that work without the disk.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measurement for people"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bootgate_api::UnixMicros;
use bootgate_events::MacAddr;
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{LeaseGrant, Store};

const BATCH: u32 = 256;
const BATCHES: u32 = 200;

fn main() {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    report("one sync of a file alone", &syncs(folder.path()));
    let memory = resident();
    let store = Sqlite::open(folder.path()).expect("open");
    println!(
        "memory of an open store: {} KiB",
        resident().saturating_sub(memory)
    );
    let name = |what| format!("{BATCH} {what}");
    report(&name("new leases"), &grants(&store, |n| n, 1));
    report(&name("renewals"), &grants(&store, |n| n, 2));
    report(
        &name("leases that move"),
        &grants(&store, |n| n + BATCH * BATCHES, 3),
    );
    report("1 renewal", &single(&store));
    println!(
        "memory after {} leases: {} KiB",
        2 * BATCH * BATCHES,
        resident().saturating_sub(memory)
    );
}

fn grant(client: u32, address: u32, at: u64) -> LeaseGrant {
    let [a, b, c, d] = (0x0a00_0000 + address).to_be_bytes();
    let [_, x, y, z] = client.to_be_bytes();
    LeaseGrant {
        ip: [a, b, c, d].into(),
        mac: MacAddr([2, 0, 0, x, y, z]),
        subnet: "10.0.0.0/8".to_owned(),
        ends: UnixMicros(at + 3_600_000_000),
        at: UnixMicros(at),
        client: None,
    }
}

fn grants(store: &Sqlite, address: fn(u32) -> u32, at: u64) -> Vec<Duration> {
    let clients = |batch: u32| batch * BATCH..(batch + 1) * BATCH;
    (0..BATCHES)
        .map(|batch| {
            let grants: Vec<_> = clients(batch).map(|n| grant(n, address(n), at)).collect();
            timed(|| store.grant_leases(&grants).expect("grant"))
        })
        .collect()
}

fn single(store: &Sqlite) -> Vec<Duration> {
    let once = |n| {
        timed(|| {
            store
                .grant_leases(&[grant(n, n + BATCH * BATCHES, 4)])
                .expect("grant")
        })
    };
    (0..BATCHES).map(once).collect()
}

fn syncs(folder: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(folder.join("sync")).expect("create");
    let once = |_| {
        file.write_all(&[1; 4096]).expect("write");
        timed(|| file.sync_data().expect("sync"))
    };
    (0..BATCHES).map(once).collect()
}

fn timed<T>(what: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!(
        "{what}: median {:.3} ms, p99 {:.3} ms, most {:.3} ms",
        at(50),
        at(99),
        at(100)
    );
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
