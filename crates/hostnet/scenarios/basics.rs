//! A sandbox by itself.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bootgate_hostnet::host::HostInterface;
use bootgate_hostnet::probe::findings;
use bootgate_hostnet::{Sandbox, SandboxConfig, SandboxError, UdpOptions, UserNamespace};

use crate::client::PATIENCE;
use crate::traffic::spawn_self;
use crate::{config, enter, lab, run};

/// A sandbox with a segment and a port stands within 200 ms.
pub fn up() {
    let took = || {
        let start = Instant::now();
        let sandbox = enter();
        run(async {
            sandbox.create_segment(lab()).await.unwrap();
            sandbox.create_port("lab", "client").await.unwrap();
            start.elapsed()
        })
    };
    // The best of a few, so that another program's load does not count.
    let best = (0..5).map(|_| took()).min().unwrap();
    assert!(best < Duration::from_millis(200), "it took {best:?}");
}

/// Says why no sandbox can be entered, if none can.
pub fn attempt() {
    if let Err(error) = Sandbox::enter(config()) {
        println!("{error}");
        std::process::exit(1);
    }
}

/// Runs another scenario as root of a sandbox of its own and prints what it prints.
fn inside(name: &str, user_namespace: UserNamespace) {
    let sandbox = Sandbox::enter(SandboxConfig {
        user_namespace,
        ..config()
    })
    .unwrap();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let (output, stdout) = std::io::pipe().unwrap();
        let child = spawn_self(&sandbox, &[name], stdout.into()).await;
        let status = tokio::time::timeout(PATIENCE, child.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code, Some(0));
        print!("{}", std::io::read_to_string(output).unwrap());
    });
}

/// Forbids user namespaces, in a user namespace of its own, and prints what entering and probing say.
pub fn forbidden() {
    inside("forbidden-inside", UserNamespace::Always);
}

/// A sandbox inside a sandbox, as in a container of an ordinary user: root, but not the host's.
pub fn nested() {
    inside("udp", UserNamespace::Always);
}

pub fn forbidden_inside() {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    assert!(!map.contains("4294967295"), "these are the host's settings");
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    let error = Sandbox::enter(SandboxConfig {
        user_namespace: UserNamespace::Always,
        ..config()
    })
    .unwrap_err();
    assert!(matches!(error, SandboxError::NamespacesForbidden { .. }));
    println!("{error}\n{}", error.hint().unwrap());
    let findings = findings();
    let found = findings
        .iter()
        .find(|finding| finding.name == "user-namespaces")
        .unwrap();
    assert!(!found.ok);
    println!("{}\n{}", found.detail, found.fix.as_deref().unwrap());
}

/// Looks at a segment from inside, as a machine looks at its interfaces.
pub fn host() {
    inside("host-inside", UserNamespace::Auto);
}

pub fn host_inside() {
    let interface = HostInterface::open("bg0").unwrap();
    let address = "10.77.0.1".parse().unwrap();
    assert_eq!(interface.mac.0, [0x02, 0x62, 10, 77, 0, 1]);
    assert_eq!(interface.addresses, [(address, 24)]);
    assert!(interface.has_address(address) && interface.up && interface.ifindex > 1);
    assert!(!interface.has_address("10.77.0.2".parse().unwrap()));

    let options = UdpOptions::new("10.77.0.1:69".parse().unwrap());
    let socket = interface.udp_socket(options).unwrap();
    assert_eq!(socket.local_addr().unwrap().port(), 69);
    assert_eq!(
        interface.udp_socket(options).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    let listener = interface
        .tcp_listener("0.0.0.0:0".parse().unwrap())
        .unwrap();
    assert_ne!(listener.local_addr().unwrap().port(), 0);
    assert_eq!(interface.packet_socket(3).unwrap().mac, interface.mac);

    let missing = HostInterface::open("eth9").unwrap_err();
    assert_eq!(
        (missing.kind(), missing.to_string().as_str()),
        (ErrorKind::NotFound, "there is no network interface `eth9`")
    );
    let loopback = HostInterface::open("lo").unwrap_err();
    assert_eq!(
        (loopback.kind(), loopback.to_string().as_str()),
        (
            ErrorKind::InvalidInput,
            "network interface `lo` is not Ethernet"
        )
    );
}
