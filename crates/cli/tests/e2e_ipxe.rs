//! A prepared folder boots machines behind a DHCP server that is not ours and names one file: real firmware, dnsmasq, and
//! `bootgate serve` with `dhcp = "off"`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_root, skip};
use lab::{BOOTGATE, IFACE, Lab, MAC, SERVER, Vm, pc, root, tap, told};

/// What the server's script says, which only a machine that found the server can.
const PROOF: &str = "THE-SERVER-WAS-FOUND";

/// Debian's packages are kept here, once fetched.
fn cache() -> PathBuf {
    root().join("target/ipxe/trixie")
}

/// Prepares Debian's iPXE into a folder; why it cannot, where there is no network.
fn prepare(out: &Path) -> Result<(), String> {
    let output = Command::new(BOOTGATE)
        .args(["ipxe", "prepare", "--fetch", "trixie", "--cache"])
        .arg(cache())
        .arg("--out")
        .arg(out)
        .output()
        .expect("run bootgate");
    match output.status.success() {
        true => Ok(()),
        false => Err(told(&output)),
    }
}

/// Skips where the media cannot be made.
macro_rules! prepared {
    ($out:expr) => {
        if let Err(error) = prepare($out) {
            skip!("no packages of trixie: {error}");
        }
    };
}

/// A lab whose machines all run one script, behind dnsmasq with these options.
struct Foreign {
    lab: Lab,
    dnsmasq: Child,
}

impl Foreign {
    fn start(media: &Path, options: &[&str]) -> Self {
        tap();
        let toml = format!(
            r#"
[state]
folder = "@/state"

[[interface]]
name = "{IFACE}"
dhcp = "off"

[boot]
ipxe = "{}"

[discovery]
mode = "script"
script = "proof"

[[script]]
name = "proof"
path = "@/proof.ipxe"
"#,
            media.display()
        );
        let mut lab = Lab::new(&toml);
        // Said in two parts, so that a script that is printed does not pass for one that runs.
        let script = "#!ipxe\nset name SERVER\necho THE-${name}-WAS-FOUND\n";
        fs::write(lab.path("proof.ipxe"), script).expect("a script");
        lab.serve();
        let log = fs::File::create(lab.path("dnsmasq.log")).expect("a log");
        let dnsmasq = Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
            .args([
                "--user=root",
                "--log-dhcp",
                "--log-facility=-",
                "--pid-file=",
            ])
            .args(["--bind-dynamic", "--leasefile-ro"])
            .arg(format!("--interface={IFACE}"))
            .arg("--dhcp-range=10.77.0.100,10.77.0.150,1h")
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("start dnsmasq");
        let mut foreign = Self { lab, dnsmasq };
        foreign.lab.until("dnsmasq listens", |_| {
            // Port 67, in hexadecimal.
            let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
            sockets.contains(":0043 ").then_some(())
        });
        foreign
    }

    /// The machine runs the server's script.
    fn assert_boots(&mut self, mut vm: Vm) {
        vm.wait_for(PROOF);
        let machines = self.lab.list(&["machine", "list"]);
        assert!(
            machines.iter().any(|machine| machine["mac"] == MAC),
            "{machines:#?}"
        );
        vm.kill();
        self.lab.stop();
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
    }
}

#[test]
fn bios_boots_by_one_file() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let ran = in_namespaces(|| {
        let named = format!("--dhcp-boot=pxelinux.0,,{SERVER}");
        let mut foreign = Foreign::start(media.path(), &[&named]);
        let folder = foreign.lab.folder.path().to_owned();
        // QEMU's own ROM, which does as it is told by DHCP.
        let mut vm = Vm::start("qemu-system-x86_64", &pc("bios", &folder, ""));
        vm.wait_for("PXELINUX");
        vm.wait_for("iPXE initialising");
        foreign.assert_boots(vm);
    });
    assert!(ran);
}

#[test]
fn bios_boots_by_user_class() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let ran = in_namespaces(|| {
        let options = [
            "--dhcp-userclass=set:ipxe,iPXE",
            &format!("--dhcp-boot=tag:!ipxe,undionly.kpxe,,{SERVER}"),
            &format!("--dhcp-boot=tag:ipxe,autoexec.ipxe,,{SERVER}"),
        ];
        let mut foreign = Foreign::start(media.path(), &options);
        // QEMU's ROMs are iPXE and say so; so iPXE with a script plays a ROM that loads undionly.kpxe.
        let script = foreign.lab.path("rom.ipxe");
        let text = "#!ipxe\ndhcp\nchain tftp://${next-server}/undionly.kpxe\n";
        fs::write(&script, text).expect("a script");
        let rom = format!(
            ",romfile= -kernel {} -initrd {}",
            media.path().join("ipxe.lkrn").display(),
            script.display()
        );
        let folder = foreign.lab.folder.path().to_owned();
        let vm = Vm::start("qemu-system-x86_64", &pc("bios", &folder, &rom));
        foreign.assert_boots(vm);
    });
    assert!(ran);
}

#[test]
fn uefi_boots_by_one_file_with_the_script_beside_it() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        skip!("ovmf is not installed");
    }
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let ran = in_namespaces(|| {
        let named = format!("--dhcp-boot=snponly.efi,,{SERVER}");
        let mut foreign = Foreign::start(media.path(), &[&named]);
        let folder = foreign.lab.folder.path().to_owned();
        let vm = Vm::start("qemu-system-x86_64", &pc("uefi", &folder, ",romfile="));
        foreign.assert_boots(vm);
    });
    assert!(ran);
}

/// The image on a drive of the machine; DHCP names no boot file at all. Devices in `first` are seen before the card.
fn boots_from_the_image(firmware: &str, device: &str, first: &str) {
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let ran = in_namespaces(|| {
        let mut foreign = Foreign::start(media.path(), &[]);
        let folder = foreign.lab.folder.path().to_owned();
        let drive = format!(
            ",romfile= -drive if=none,id=medium,format=raw,readonly=on,file={} {device}",
            media.path().join("bootgate.iso").display()
        );
        let line =
            pc(firmware, &folder, &drive).replace("-netdev tap", &format!("{first} -netdev tap"));
        let vm = Vm::start("qemu-system-x86_64", &line);
        foreign.assert_boots(vm);
    });
    assert!(ran);
}

const CD: &str = "-device ide-cd,drive=medium,bootindex=0";
const USB: &str = "-device qemu-xhci -device usb-storage,drive=medium,bootindex=0";

#[test]
fn bios_boots_from_the_cd() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    boots_from_the_image("bios", CD, "");
}

#[test]
fn bios_boots_from_the_stick_with_a_dead_card_first() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    // A card on a wire of its own.
    let dead = "-netdev hubport,id=dead,hubid=7 -device virtio-net-pci,netdev=dead,mac=52:54:00:00:00:01,romfile=";
    boots_from_the_image("bios", USB, dead);
}

#[test]
fn uefi_boots_from_the_cd() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        skip!("ovmf is not installed");
    }
    boots_from_the_image("uefi", CD, "");
}

#[test]
fn uefi_boots_from_the_stick() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip", "dnsmasq", "apt-get", "dpkg-deb");
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        skip!("ovmf is not installed");
    }
    boots_from_the_image("uefi", USB, "");
}

#[test]
fn arm64_boots_from_the_stick() {
    require_root!();
    require_commands!(
        "qemu-system-aarch64",
        "ip",
        "dnsmasq",
        "apt-get",
        "dpkg-deb"
    );
    let firmware = "/usr/share/AAVMF/AAVMF_CODE.fd";
    if !Path::new(firmware).exists() {
        skip!("qemu-efi-aarch64 is not installed");
    }
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let ran = in_namespaces(|| {
        let mut foreign = Foreign::start(media.path(), &[]);
        let vars = foreign.lab.path("vars.fd");
        fs::copy("/usr/share/AAVMF/AAVMF_VARS.fd", &vars).expect("a variable store");
        let line = format!(
            "-M virt -cpu cortex-a57 -m 512 -nographic -no-user-config \
             -drive if=pflash,format=raw,readonly=on,file={firmware} -drive if=pflash,format=raw,file={} \
             -netdev tap,id=n,ifname={IFACE},script=no,downscript=no -device virtio-net-pci,netdev=n,mac={MAC},romfile=,bootindex=1 \
             -drive if=none,id=medium,format=raw,readonly=on,file={} {USB}",
            vars.display(),
            media.path().join("bootgate.iso").display()
        );
        let vm = Vm::start("qemu-system-aarch64", &line);
        foreign.assert_boots(vm);
    });
    assert!(ran);
}

#[test]
fn check_boots_what_was_prepared() {
    require_commands!(
        "qemu-system-x86_64",
        "qemu-system-aarch64",
        "apt-get",
        "dpkg-deb"
    );
    let media = tempfile::tempdir().expect("a folder");
    prepared!(media.path());
    let check = |path: &Path, more: &[&str]| {
        let output = Command::new(BOOTGATE)
            .args(["ipxe", "check"])
            .arg(path)
            .args(more)
            .args(["--accel", "tcg"])
            .output()
            .expect("run bootgate");
        (output.status.code(), told(&output))
    };
    let (code, text) = check(&media.path().join("undionly.kpxe"), &[]);
    assert_eq!(code, Some(0), "{text}");
    let row = text.lines().find(|line| line.starts_with("undionly.kpxe"));
    assert!(row.is_some_and(|row| row.contains("passed")), "{text}");
    let (code, text) = check(&media.path().join("ipxe-arm64.efi"), &[]);
    assert_eq!(code, Some(0), "{text}");
    let row = text.lines().find(|line| line.starts_with("ipxe-arm64.efi"));
    assert!(row.is_some_and(|row| row.contains("passed")), "{text}");
    // The same bytes, broken where only a boot can tell.
    let broken = media.path().join("broken.lkrn");
    let mut bytes = fs::read(media.path().join("ipxe.lkrn")).expect("a program");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0);
    fs::write(&broken, bytes).expect("a program");
    let (code, text) = check(&broken, &["--no-boot"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check(&broken, &[]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = check(Path::new("/etc/hostname"), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no PE program"), "{text}");
}
