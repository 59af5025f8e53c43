//! Measures the userspace wire: a TCP transfer between two sandboxes crosses two wires, with frames captured on one.
//! Prints one line of JSON. `cargo run --release --example wire-throughput -p bootgate-hostnet [MIB] [packet]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement, not part of the product"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Instant;

use bootgate_hostnet::capture::{CaptureConfig, Writer};
use bootgate_hostnet::wire::{Wire, WireConfig, client_pair};
use bootgate_hostnet::{PortMode, Sandbox, SandboxConfig, SegmentConfig, Spawn};

const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 80);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "fetch") {
        return fetch();
    }
    let mib: usize = arguments
        .iter()
        .find_map(|word| word.parse().ok())
        .unwrap_or(64);
    let config = SandboxConfig {
        ports: if arguments.iter().any(|word| word == "packet") {
            PortMode::PacketVeth
        } else {
            PortMode::Auto
        },
        ..SandboxConfig::default()
    };
    let sandboxes = [
        Sandbox::enter(config).unwrap(),
        Sandbox::enter(config).unwrap(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&sandboxes, mib << 20));
}

async fn measure(sandboxes: &[Sandbox; 2], length: usize) {
    let folder = std::env::temp_dir().join(format!("wire-throughput-{}", std::process::id()));
    let capture = Writer::create(&folder, CaptureConfig::default()).unwrap();
    let interface = capture.interface("left");
    let mut configs = vec![
        WireConfig::default(),
        WireConfig::default().capture(capture.clone(), interface),
    ];
    let (one, other) = client_pair().unwrap();
    let mut wires = Vec::new();
    let mut kind = None;
    for ((sandbox, host), end) in sandboxes.iter().zip([1u8, 2]).zip([one, other]) {
        let segment = SegmentConfig {
            name: "lab".to_owned(),
            address: Ipv4Addr::new(10, 77, 0, host),
            prefix_len: 24,
            address6: None,
        };
        sandbox.create_segment(segment).await.unwrap();
        let port = sandbox.create_port("lab", "cable").await.unwrap();
        kind = Some(port.kind());
        wires.push(Wire::spawn(end, &port, configs.pop().unwrap()).unwrap());
    }
    let listener = sandboxes[0].tcp_listener("lab", SERVER).await.unwrap();
    listener.set_nonblocking(false).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&vec![0xa5; length]).unwrap();
    });
    let start = Instant::now();
    let fetch = Spawn {
        argv: vec!["/proc/self/exe".into(), "fetch".into()],
        ..Spawn::default()
    };
    let status = sandboxes[1].spawn(fetch).await.unwrap().wait().await;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(status.unwrap().code, Some(0));
    server.join().unwrap();
    let cpu: f64 = wire_threads().iter().sum();
    let stats = wires[0].stats();
    let frames = stats.to_client.frames + stats.from_client.frames;
    println!(
        "{{\"figure\":\"wire\",\"port\":\"{:?}\",\"mib\":{},\"seconds\":{seconds:.3},\"frames_per_s\":{:.0},\
         \"cpu_seconds_per_wire\":{:.3},\"dropped\":{}}}",
        kind.unwrap(),
        length >> 20,
        frames as f64 / seconds,
        cpu / 2.0,
        stats.to_client.dropped + stats.from_client.dropped,
    );
    drop(wires);
    drop(capture);
    std::fs::remove_file(folder).unwrap();
}

/// Processor seconds of each wire's thread so far.
fn wire_threads() -> Vec<f64> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains("(wire "))
        .map(|stat| {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            // utime and stime of proc(5), in hundredths of a second
            (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
        })
        .collect()
}

fn fetch() {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while stream.read(&mut buffer).unwrap() > 0 {}
}
