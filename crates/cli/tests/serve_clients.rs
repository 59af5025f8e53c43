//! The DHCP clients that systems ship, and a load generator, before `bootgate serve` on an interface.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::process::{Command, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_files, require_root};
use lab::{IFACE, Lab, SERVER, serving, sh};

/// Runs a line in the client's namespace; its exit code may be anything.
fn client(line: &str) -> String {
    let output = Command::new("ip")
        .args(["netns", "exec", "client", "sh", "-c", line])
        .stdin(Stdio::null())
        .output()
        .expect("run a client");
    lab::told(&output)
}

/// A served cable whose far end is `cli0` in the namespace `client`.
fn cable() -> Lab {
    sh(&format!(
        "ip link set lo up; ip link add {IFACE} type veth peer name cli0; ip addr add {SERVER}/16 dev {IFACE}; ip link set {IFACE} up
         mount -t tmpfs none /run; mkdir -p /run/netns; ip netns add client; ip link set cli0 netns client
         ip -n client link set lo up; ip -n client link set cli0 up"
    ));
    let more = "router = \"10.77.0.1\"\ndns = [\"10.77.0.1\"]";
    let mut lab = Lab::new(&serving(16, "10.77.1.0-10.77.250.255", more));
    lab.serve();
    lab
}

/// The one lease that the operator sees, and the address on the client's interface.
fn assert_leased(lab: &Lab, what: &str) {
    let shown = client("ip -4 -o addr show dev cli0");
    let leases = lab.list(&["lease", "list"]);
    let ip = leases
        .first()
        .map(|lease| lease["ip"].as_str().expect("an address").to_owned());
    let ip = ip.unwrap_or_else(|| panic!("{what} got no lease: {shown}\n{}", lab.log()));
    assert!(
        shown.contains(&format!("{ip}/16")),
        "{what}: {ip} is leased, the client has {shown}"
    );
}

#[test]
fn udhcpc_gets_an_address() {
    require_root!();
    require_commands!("udhcpc", "ip");
    assert!(in_namespaces(|| {
        let mut lab = cable();
        let script = lab.path("bound");
        let text = "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/16 dev $interface\nexit 0\n";
        fs::write(&script, text).expect("a script");
        sh(&format!("chmod 755 {}", script.display()));
        client(&format!(
            "udhcpc -i cli0 -n -q -f -t 5 -T 2 -s {}",
            script.display()
        ));
        assert_leased(&lab, "udhcpc");
        lab.stop();
    }));
}

#[test]
fn dhclient_gets_an_address_and_gives_it_back() {
    require_root!();
    require_commands!("dhclient", "ip");
    assert!(in_namespaces(|| {
        let mut lab = cable();
        sh("mount -t tmpfs none /var/lib/dhcp; mount --bind /dev/null /etc/resolv.conf || true");
        let files = format!("-lf {0}/leases -pf {0}/pid", lab.folder.path().display());
        client(&format!("dhclient -4 -1 {files} cli0"));
        assert_leased(&lab, "dhclient");
        client(&format!("dhclient -4 -r {files} cli0"));
        lab.until("the lease is given back", |lab| {
            let leases = lab.list(&["lease", "list"]);
            (leases[0]["state"] == "ended").then_some(())
        });
        lab.stop();
    }));
}

#[test]
fn dhcpcd_gets_an_address() {
    require_root!();
    require_commands!("dhcpcd", "ip");
    assert!(in_namespaces(|| {
        let mut lab = cable();
        sh("mkdir -p /var/lib/dhcpcd /run/dhcpcd; mount -t tmpfs none /var/lib/dhcpcd");
        client("timeout 30 dhcpcd -4 -1 -t 20 -C resolv.conf cli0");
        assert_leased(&lab, "dhcpcd");
        lab.stop();
    }));
}

#[test]
fn systemd_networkd_gets_an_address() {
    require_root!();
    require_commands!("ip");
    require_files!("/lib/systemd/systemd-networkd" => "install systemd");
    assert!(in_namespaces(|| {
        let mut lab = cable();
        // Without udev, systemd-networkd takes links as ready only where /sys is read-only.
        let log = lab.path("networkd.log");
        sh("mkdir -p /etc/systemd/network; mount -t tmpfs none /etc/systemd/network
            mkdir -p /run/systemd/netif/links /run/systemd/netif/leases; chown -R systemd-network /run/systemd/netif
            printf '[Match]\\nName=cli0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n' > /etc/systemd/network/10.network");
        let line = format!(
            "umount /sys 2>/dev/null; mount -t sysfs -o ro sysfs /sys 2>/dev/null || mount -o remount,ro /sys; exec /lib/systemd/systemd-networkd > {} 2>&1",
            log.display()
        );
        let mut networkd = Command::new("ip")
            .args([
                "netns", "exec", "client", "unshare", "--mount", "sh", "-c", &line,
            ])
            .spawn()
            .expect("start systemd-networkd");
        lab.until("systemd-networkd has its address", |_| {
            client("ip -4 -o addr show dev cli0")
                .contains("10.77.")
                .then_some(())
        });
        assert_leased(&lab, "systemd-networkd");
        networkd.kill().expect("stop it");
        networkd.wait().expect("it ends");
        lab.stop();
    }));
}

#[test]
fn perfdhcp_as_a_relay_loses_nothing_at_a_modest_rate() {
    require_root!();
    require_commands!("perfdhcp", "ip");
    assert!(in_namespaces(|| {
        let mut lab = cable();
        // In DHCPv4 perfdhcp is a relay agent: its own address is giaddr, and replies come back to it.
        sh("ip -n client addr add 10.77.0.250/16 dev cli0");
        let told = client(&format!(
            "perfdhcp -4 -r 200 -R 1000 -p 3 -W 1000000 -l cli0 {SERVER}"
        ));
        let drops: Vec<&str> = told
            .lines()
            .filter(|line| line.contains("drops:"))
            .collect();
        assert_eq!(drops.len(), 2, "{told}");
        assert!(drops.iter().all(|line| line.trim() == "drops: 0"), "{told}");
        let leases = lab.list(&["lease", "list"]);
        assert!(leases.len() > 300, "{told}");
        lab.stop();
    }));
}
