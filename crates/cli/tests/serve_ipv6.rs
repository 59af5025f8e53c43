//! Machines with real firmware boot through `bootgate serve` over IPv6 alone: PXE and UEFI HTTP Boot, to GRUB, and by PXE on to
//! its configuration and a kernel. What clients get that are no machines.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;

use bootgate_testkit::uefi::{NetworkBoot, OVMF_CODE, OVMF_VARS, write_boot_options};
use bootgate_testkit::{in_namespaces, require_commands, require_files, require_root};
use lab::{IFACE, Lab, MAC, SERVER, Vm, sh, tap};
use serde_json::Value;

const GRUB: &str = "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi";
/// The network card's place on the PCI bus.
const SLOT: u8 = 3;

/// A lab with IPv6.
const CONFIG: &str = r#"
[state]
folder = "@/state"

[[interface]]
name = "IFACE"
dhcp = "full"

[[subnet]]
network = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.150"]
dns = "fd00:77::53"
ipv6 = { prefix = "fd00:77::/64" }
"#;

/// A lab with IPv6, whose programs for PXE and for HTTP Boot are these files.
fn ipv6_lab(pxe: &str, http: &str) -> Lab {
    let more = format!(
        r#"
[boot]
folder = "@/tftp"

[[arch]]
code = 7
bootfile = "{pxe}"

[[arch]]
code = 16
bootfile = "{http}"

[[installer]]
name = "probe"
kernel = "@/vmlinuz"
initrd = ["@/initrd.img"]
cmdline = "console=ttyS0 panic=-1 bootgate.test=yes"
"#
    );
    let lab = Lab::new(&(CONFIG.replace("IFACE", IFACE) + &more));
    // The kernel says that it cannot find a root file system, which is as far as this test goes.
    fs::write(lab.path("initrd.img"), vec![0; 4096]).expect("an initial RAM disk");
    fs::write(lab.path("tftp/none.efi"), vec![7; 5000]).expect("no program");
    fs::copy(GRUB, lab.path("tftp/grubnetx64.efi")).expect("GRUB");
    fs::copy(lab::kernel().expect("a kernel"), lab.path("vmlinuz")).expect("the kernel");
    lab
}

/// A machine whose firmware tries these ways, and has no IPv4.
fn machine(lab: &Lab, order: &[NetworkBoot]) -> Vm {
    let vars = lab.path("vars.fd");
    let mac: Vec<u8> = MAC
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let mac = mac.try_into().expect("six bytes");
    write_boot_options(&vars, order, SLOT, mac).expect("a variable store");
    let line = format!(
        "-nodefaults -no-user-config -M q35 -accel tcg,tb-size=64 -cpu max,la57=off -m 512 -display none \
         -serial stdio -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
         -netdev tap,id=n,ifname={IFACE},script=no,downscript=no \
         -device virtio-net-pci,netdev=n,mac={MAC},romfile=,addr={SLOT} \
         -drive if=pflash,format=raw,readonly=on,file={OVMF_CODE} \
         -drive if=pflash,format=raw,file={} \
         -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n",
        vars.display()
    );
    Vm::start("qemu-system-x86_64", &line)
}

/// Every file that the attempt had came over IPv6, and these were among them: role, protocol and a part of the name.
fn assert_fetched(events: &[Value], wanted: &[(&str, &str, &str)]) {
    let fetched = |event: &&Value| event["kind"] == "transfer-started";
    let started: Vec<&Value> = events.iter().filter(fetched).collect();
    for event in &started {
        let peer = event["peer"].as_str().expect("a peer");
        assert!(peer.contains(':'), "not over IPv6: {event}");
    }
    // Firmware asks for a file's size by a transfer that it gives up; one of them must be whole.
    let whole = |started: &&&Value| {
        let same = |event: &&Value| event["id"] == started["id"];
        let mut completed = events
            .iter()
            .filter(|event| event["kind"] == "transfer-completed");
        completed.any(|event| same(&event))
    };
    for (role, protocol, name) in wanted {
        let mut fetched = started.iter().filter(whole);
        let found = fetched.any(|event| {
            event["role"] == **role
                && event["protocol"] == **protocol
                && event["path"]
                    .as_str()
                    .is_some_and(|path| path.contains(name))
        });
        assert!(found, "no whole {role} `{name}` by {protocol}: {events:#?}");
    }
}

/// Boots the machine until its console says so; the events of its attempt.
fn boot(lab: &mut Lab, order: &[NetworkBoot], until: &str) -> Vec<Value> {
    tap();
    sh(&format!("ip addr add fd00:77::1/64 dev {IFACE} nodad"));
    lab.serve();
    lab.bootgate(&[
        "machine",
        "set",
        MAC,
        "--mode",
        "install",
        "--installer",
        "probe",
    ]);
    let mut vm = machine(lab, order);
    vm.wait_for(until);
    let attempts = lab.attempts();
    let [attempt] = &attempts[..] else {
        panic!("one power-on is one attempt: {attempts:#?}")
    };
    assert_eq!(attempt["mac"], MAC);
    let id = attempt["id"].as_str().expect("its number").to_owned();
    let events = lab.events(&id);
    vm.kill();
    events
}

/// Skips where a machine cannot boot over IPv6.
macro_rules! require_booting {
    () => {
        require_root!();
        require_commands!("qemu-system-x86_64", "ip");
        require_files!(
            GRUB => "install grub-efi-amd64-bin",
            OVMF_CODE => "install ovmf",
            OVMF_VARS => "install ovmf",
        );
        require_kernel!();
    };
}

#[test]
fn ovmf_boots_by_pxe_over_ipv6_alone() {
    require_booting!();
    let ran = in_namespaces(|| {
        let mut lab = ipv6_lab("grubnetx64.efi", "none.efi");
        let events = boot(&mut lab, &[NetworkBoot::Pxe6], "bootgate.test=yes");
        let wanted = [
            ("nbp", "tftp", "grubnetx64.efi"),
            ("script", "tftp", "grub.cfg-01-52"),
            ("kernel", "tftp", "probe/kernel"),
            ("initrd", "tftp", "probe/initrd"),
        ];
        assert_fetched(&events, &wanted);
        lab.stop();
    });
    assert!(ran);
}

#[test]
fn ovmf_boots_by_http_over_ipv6_alone() {
    require_booting!();
    let ran = in_namespaces(|| {
        let mut lab = ipv6_lab("none.efi", "grubnetx64.efi");
        // GRUB's own HTTP is not looked at: that of 2.06 does not get its configuration over IPv6.
        let order = [NetworkBoot::Pxe6, NetworkBoot::Http6];
        let events = boot(&mut lab, &order, "grub> ");
        let wanted = [
            ("nbp", "tftp", "none.efi"),
            ("nbp", "http", "grubnetx64.efi"),
        ];
        assert_fetched(&events, &wanted);
        lab.stop();
    });
    assert!(ran);
}

/// Runs a command at the other end of the cable.
fn peer(line: &str) -> String {
    sh(&format!("ip netns exec peer {line}"))
}

/// What the machine's script is answered with, asked for from this address or interface.
fn script(server: &str, from: &str) -> String {
    peer(&format!(
        "curl -sg -m 20 -o /dev/null -w '%{{http_code}}' --interface {from} 'http://[{server}]/boot/{MAC}/boot.ipxe'"
    ))
}

fn script_from(address: &str) -> String {
    script("fd00:77::1", address)
}

#[test]
fn only_who_leased_an_ipv6_address_gets_a_script_and_another_server_is_named() {
    require_root!();
    require_commands!("ip", "dhclient", "curl", "sysctl");
    let ran = in_namespaces(|| {
        sh(&format!(
            "mount -t tmpfs none /run; ip link set lo up; ip netns add peer
             ip link add {IFACE} type veth peer name eth0 address {MAC} netns peer
             ip addr add {SERVER}/24 dev {IFACE}; ip addr add fd00:77::1/64 dev {IFACE} nodad
             ip link set {IFACE} addrgenmode none; ip addr add fe80::1/64 dev {IFACE} nodad; ip link set {IFACE} up"
        ));
        peer("sysctl -qw net.ipv6.conf.eth0.accept_dad=0");
        peer("ip link set lo up");
        peer("ip link set eth0 up");
        let mut lab = Lab::new(&CONFIG.replace("IFACE", IFACE));
        lab.serve();
        let leases = lab.path("dhclient.leases").display().to_string();
        let pid = lab.path("dhclient.pid").display().to_string();
        let dhclient = |what: &str| {
            peer(&format!(
                "dhclient {what} -6 -D LL -lf {leases} -pf {pid} -sf /bin/true eth0"
            ))
        };
        dhclient("-1");
        let text = fs::read_to_string(&leases).expect("a lease");
        let address = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("iaaddr "))
            .expect("an address");
        let address = address.trim_end_matches(" {").to_owned();
        assert!(text.contains("fd00:77::53"), "the DNS server: {text}");
        for ip in [&*address, "fd00:77::5"] {
            peer(&format!("ip addr add {ip}/64 dev eth0 nodad"));
        }
        assert_eq!(script_from(&address), "200");
        assert_eq!(script_from("fd00:77::5"), "403", "never leased");
        // The client's lease is another server's, it says, and names it when it gives the address back.
        let id = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("option dhcp6.server-id "))
            .expect("the server's DUID");
        let other = text.replace(id, "0:3:0:1:2:2:2:2:2:9;");
        peer(&format!("kill $(cat {pid})"));
        fs::write(&leases, other).expect("the lease");
        dhclient("-r");
        lab.until("the other server is named", |lab| {
            let status = lab.json(&["status"]);
            let seen = status["server"]["foreign_servers"].as_array()?.first()?;
            assert_eq!(seen["mac"], "02:02:02:02:02:09");
            let by = seen["by"].as_str().expect("words");
            assert!(by.contains("00030001020202020209"), "{by}");
            Some(())
        });
        // What an operator sees of it.
        let status = lab.bootgate(&["status"]);
        for part in [" ra ", " dhcp6 ", "[::]:547"] {
            assert!(status.contains(part), "`{part}` in {status}");
        }
        let explained = lab.bootgate(&["explain", MAC, "--as", "ip=6,arch=7"]);
        assert!(
            explained.contains("bootfile-url `tftp://[fd00:77::1]/"),
            "{explained}"
        );
        assert_eq!(script_from(&address), "200", "it was not ours to end");
        lab.bootgate(&["lease", "forget", &address]);
        assert_eq!(script_from(&address), "403", "forgotten");
        // A link-local address tells whose it is where it was made from the hardware address.
        let link_local = || script("fe80::1%25eth0", "eth0");
        assert_eq!(link_local(), "200");
        peer("ip -6 addr flush dev eth0");
        peer("ip addr add fe80::5/64 dev eth0 nodad");
        assert_eq!(link_local(), "403", "nobody's");
        lab.stop();
    });
    assert!(ran);
}
