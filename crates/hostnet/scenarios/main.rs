//! Enters sandboxes for the tests, one scenario a process: `hostnet-scenario NAME [ARGUMENT...]`.
//!
//! Entering must happen before a process has threads, which no test harness can offer. A scenario that finds
//! something wrong panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::large_futures,
    reason = "test code"
)]

mod basics;
mod client;
mod hosts;
mod processes;
mod qemu;
mod traffic;
mod vlan;

use bootgate_hostnet::{PortMode, Sandbox, SandboxConfig, SegmentConfig, UserNamespace};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("a scenario's name");
    let arguments: Vec<String> = arguments.collect();
    match name.as_str() {
        "machine" => hosts::machine(),
        "ipv6" => hosts::ipv6(),
        "up" => basics::up(),
        "try" => basics::attempt(),
        "forbidden" => basics::forbidden(),
        "forbidden-inside" => basics::forbidden_inside(),
        "nested" => basics::nested(),
        "host" => basics::host(),
        "host-inside" => basics::host_inside(),
        "boot" => qemu::boot(),
        "capture" => qemu::capture(&arguments[0]),
        "spawn" => processes::spawn(),
        "descriptors" => processes::descriptors(),
        "errors" => processes::errors(),
        "hold" => processes::hold(),
        "udp" => traffic::udp(),
        "isolated" => traffic::isolated(),
        "tcp" => traffic::tcp(),
        "fetch" => traffic::fetch(&arguments[0]),
        "hook" => traffic::hook(),
        "vlan" => vlan::vlan(),
        "bad-clients" => traffic::bad_clients(),
        _ => panic!("there is no scenario `{name}`"),
    }
}

/// Enters a sandbox as the environment says: `PORTS=tap|packet`.
fn enter() -> Sandbox {
    Sandbox::enter(config()).expect("a sandbox")
}

fn config() -> SandboxConfig {
    SandboxConfig {
        user_namespace: if std::env::var_os("USERNS").is_some() {
            UserNamespace::Always
        } else {
            UserNamespace::Auto
        },
        ports: match std::env::var("PORTS").as_deref() {
            Ok("tap") => PortMode::Tap,
            Ok("packet") => PortMode::PacketVeth,
            _ => PortMode::Auto,
        },
    }
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(scenario)
}

fn lab() -> SegmentConfig {
    SegmentConfig {
        name: "lab".to_owned(),
        address: "10.77.0.1".parse().unwrap(),
        prefix_len: 24,
        address6: None,
    }
}
