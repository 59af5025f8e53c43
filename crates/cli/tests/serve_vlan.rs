//! `bootgate serve` on a VLAN interface. The host's kernel may have no 802.1Q, so server and client run inside a QEMU
//! guest with the distribution's kernel, which has.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootgate_testkit::{require_commands, skip};
use lab::{BOOTGATE, Vm, sh};

const MODULES: [&str; 6] = [
    "net/llc/llc.ko",
    "net/802/stp.ko",
    "net/802/garp.ko",
    "net/802/mrp.ko",
    "net/8021q/8021q.ko",
    "drivers/net/veth.ko",
];

/// PID 1 of the guest; `theip` is `ip` of iproute2, beside that of busybox. The server has one end of a cable, the client the other; both talk in VLAN 20.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
for module in llc stp garp mrp 8021q veth; do insmod /modules/$module.ko; done
theip link set lo up
theip netns add client
theip link add srv type veth peer name cli netns client
theip link set srv up
theip link add link srv name srv.20 type vlan id 20
theip addr add 10.20.0.1/24 dev srv.20
theip link set srv.20 up
theip netns exec client theip link set cli up
theip netns exec client theip link add link cli name cli.20 type vlan id 20
theip netns exec client theip link set cli.20 up
bootgate serve --config /serve.toml > /serve.log 2>&1 &
tries=0
until [ -S /state/control.sock ] || [ $tries = 100 ]; do tries=$((tries + 1)); usleep 100000; done
theip netns exec client udhcpc -i cli.20 -n -q -f -t 5 -T 2 -s /bin/told
echo "TAGGED $?"
theip netns exec client udhcpc -i cli -n -q -f -t 2 -T 1 -s /bin/told
echo "UNTAGGED $?"
bootgate lease list --state /state
cat /serve.log
echo "GUEST DONE"
poweroff -f
"#;

const TOLD: &str = "#!/bin/busybox sh\n[ \"$1\" = bound ] && echo \"LEASED $interface $ip by $serverid\"\nexit 0\n";

const CONFIG: &str = r#"
[state]
folder = "/state"

[[interface]]
name = "srv.20"
dhcp = "full"

[[subnet]]
network = "10.20.0.0/24"
ranges = ["10.20.0.100-10.20.0.110"]
"#;

/// Copies a program with the libraries it is linked to.
fn install(program: &Path, name: &str, guest: &Path) {
    fs::copy(program, guest.join("bin").join(name)).expect("copy a program");
    let output = Command::new("ldd").arg(program).output().expect("run ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = guest.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(library, to).expect("copy a library");
    }
}

/// The kernel, and the folder of its modules.
fn kernel_files() -> Option<(PathBuf, PathBuf)> {
    let versions = fs::read_dir(lab::kernel_root().join("lib/modules")).ok()?;
    let modules = versions.filter_map(Result::ok).next()?.path();
    Some((lab::kernel()?, modules.join("kernel")))
}

#[test]
fn a_vlan_interface_is_served_and_the_untagged_segment_is_not() {
    require_commands!("qemu-system-x86_64", "busybox", "ip", "cpio", "ldd");
    let Some((image, modules)) = kernel_files() else {
        let place = lab::kernel_root();
        skip!(
            "no kernel with modules in {}: run ./ci/gate once",
            place.display()
        );
    };
    let folder = tempfile::tempdir().expect("a folder");
    let guest = folder.path().join("guest");
    for name in [
        "bin",
        "proc",
        "sys",
        "dev",
        "tmp",
        "modules",
        "var/run/netns",
        "run",
        "etc",
    ] {
        fs::create_dir_all(guest.join(name)).expect("a folder");
    }
    let found = |name: &str| {
        PathBuf::from(sh(&format!("PATH=$PATH:/usr/sbin:/sbin command -v {name}")).trim())
    };
    install(&found("busybox"), "busybox", &guest);
    install(&found("ip"), "theip", &guest);
    install(Path::new(BOOTGATE), "bootgate", &guest);
    sh(&format!("strip {}", guest.join("bin/bootgate").display()));
    for module in MODULES {
        let from = modules.join(module);
        fs::copy(
            &from,
            guest
                .join("modules")
                .join(from.file_name().expect("a name")),
        )
        .expect("a module");
    }
    for (name, text, mode) in [
        ("init", INIT, "755"),
        ("bin/told", TOLD, "755"),
        ("serve.toml", CONFIG, "644"),
    ] {
        fs::write(guest.join(name), text).expect("a file");
        sh(&format!("chmod {mode} {}", guest.join(name).display()));
    }
    let initrd = folder.path().join("initrd");
    sh(&format!(
        "cd {} && find . | cpio --quiet -o -H newc > {}",
        guest.display(),
        initrd.display()
    ));
    let line = format!(
        "-M q35 -m 384 -nographic -no-reboot -nic none -kernel {} -initrd {} -append console=ttyS0\\ quiet\\ panic=-1",
        image.display(),
        initrd.display()
    );
    let mut vm = Vm::start("qemu-system-x86_64", &line);
    vm.wait_for("GUEST DONE");
    assert!(
        vm.console.contains("LEASED cli.20 10.20.0.1"),
        "{}",
        vm.console
    );
    assert!(vm.console.contains("TAGGED 0"), "{}", vm.console);
    assert!(vm.console.contains("UNTAGGED 1"), "{}", vm.console);
    // The operator sees the lease too.
    let place = vm.console.find("UNTAGGED").expect("the place");
    assert!(vm.console[place..].contains("10.20.0.1"), "{}", vm.console);
}
