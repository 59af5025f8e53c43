//! A board: a console on a tty, power by commands, no access to its disk from the host. The board is a QEMU that the
//! power commands start and stop, on an interface of a private network namespace; bootgate knows nothing of that.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A serial line: two ttys, each of which hears what is said on the other.
struct NullModem {
    board: PathBuf,
    host: PathBuf,
    // Kept open, so that the line stays up while neither end is in use.
    _ends: [File; 2],
}

fn pty() -> (OwnedFd, PathBuf) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).expect("a pty");
    grantpt(&controller).expect("grantpt");
    unlockpt(&controller).expect("unlockpt");
    let path = PathBuf::from(
        ptsname(&controller, Vec::new())
            .expect("ptsname")
            .into_string()
            .expect("a path"),
    );
    (controller, path)
}

fn null_modem() -> NullModem {
    let ((left, board), (right, host)) = (pty(), pty());
    let open = |path: &Path| {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("a tty");
        let mut settings = tcgetattr(&file).expect("tcgetattr");
        settings.make_raw();
        tcsetattr(&file, OptionalActions::Now, &settings).expect("tcsetattr");
        file
    };
    let ends = [open(&board), open(&host)];
    let (left, right) = (File::from(left), File::from(right));
    carry(
        left.try_clone().expect("a descriptor"),
        right.try_clone().expect("a descriptor"),
    );
    carry(right, left);
    NullModem {
        board,
        host,
        _ends: ends,
    }
}

/// Carries bytes until the process ends.
fn carry(mut from: File, mut to: File) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
}

/// Writes a program that the power commands run.
fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\nset -eu\n{text}")).expect("a script");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a script");
}

const MAC: &str = "52:54:00:b0:a4:d0";

/// Power commands and a lab file for one UEFI board on `lab0`.
fn lab(folder: &Path, line: &NullModem) -> PathBuf {
    let shown = folder.display();
    File::create(folder.join("disk"))
        .and_then(|disk| disk.set_len(64 << 20))
        .expect("a blank disk");
    std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", folder.join("vars")).expect("OVMF variables");
    script(
        &folder.join("on"),
        &format!(
            "qemu-system-x86_64 -nodefaults -daemonize -pidfile {shown}/pid -display none -machine q35 -accel tcg -m 512 \\\n\
             -drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \\\n\
             -drive if=pflash,format=raw,unit=1,file={shown}/vars \\\n\
             -drive if=none,id=disk,format=raw,cache=unsafe,file={shown}/disk -device virtio-blk-pci,drive=disk,bootindex=1 \\\n\
             -netdev tap,id=net,ifname=lab0,script=no,downscript=no \\\n\
             -device virtio-net-pci,netdev=net,mac={MAC},romfile=,bootindex=2 -device virtio-rng-pci \\\n\
             -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n \\\n\
             -chardev serial,id=serial,path={board} -serial chardev:serial\n",
            board = line.board.display()
        ),
    );
    // Gone means gone: the next `on` needs the tap and the disk.
    script(
        &folder.join("off"),
        &format!(
            "test -f {shown}/pid || exit 0\npid=$(cat {shown}/pid)\nkill -KILL $pid 2>/dev/null || true\n\
             timeout 10 tail --pid=$pid -f /dev/null\nrm -f {shown}/pid\n"
        ),
    );
    let lab = folder.join("lab.toml");
    let text = format!(
        "[network]\ninterface = \"lab0\"\naddress = \"10.88.0.1/24\"\n\n[board.client]\nfirmware = \"uefi\"\nmac = \"{MAC}\"\n\
         console = \"{}\"\nbaud = 115200\npower = {{ on = [\"{shown}/on\"], off = [\"{shown}/off\"] }}\n",
        line.host.display()
    );
    std::fs::write(&lab, text).expect("a lab file");
    lab
}

/// Bootgate with `lab` in a network namespace that has a tap `lab0` with the servers' address, after `first`.
fn in_lab(lab: &Path, first: &str) -> support::Bootgate {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec"]);
    let mut bootgate = support::program(command);
    // `exec`, so that signals reach bootgate.
    let script = format!(
        "ip link set lo up\nip tuntap add dev lab0 mode tap\nip address add 10.88.0.1/24 dev lab0\nip link set lab0 up\n{first}\n\
         exec {} run {} --lab {} --out {}",
        env!("CARGO_BIN_EXE_bootgate"),
        support::scenario("uefi-flash.toml").display(),
        lab.display(),
        bootgate.folder.display(),
    );
    bootgate.command.arg(script);
    bootgate
}

#[test]
fn the_uefi_scenario_passes_unchanged_on_a_board() {
    require_gate!();
    bootgate_testkit::require_root!();
    bootgate_testkit::require_commands!("unshare", "ip");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = null_modem();
    let run = in_lab(&lab(folder.path(), &line), "").finish();
    run.assert_code(0);
    let target = &run.verdict()["targets"][0];
    assert_eq!(target["driver"], "board");
    assert_eq!(target["disk_proof"], "agent", "{target:#}");
    assert_eq!(target["disk_sha256"], target["image_sha256"]);
    let image =
        std::fs::read(support::root().join("target/media/disk/disk.img")).expect("the image");
    let disk = std::fs::read(folder.path().join("disk")).expect("the board's disk");
    assert!(
        disk == image,
        "the board's disk differs from the image, whatever the agent said"
    );
    support::assert_none_left(&folder.path().display().to_string());
}

#[test]
fn an_interrupted_run_switches_the_board_off() {
    require_gate!();
    bootgate_testkit::require_root!();
    bootgate_testkit::require_commands!("unshare", "ip");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = null_modem();
    let run = in_lab(&lab(folder.path(), &line), "").start();
    run.wait_for("the firmware's first words", |event| {
        event["kind"] == "console-chunk"
    });
    assert!(folder.path().join("pid").exists(), "the board is on");
    run.signal("INT");
    let run = run.finish();
    run.assert_code(130);
    assert_eq!(run.verdict()["verdict"], "interrupted");
    assert!(!folder.path().join("pid").exists(), "the board is on");
    support::assert_none_left(&folder.path().display().to_string());
}

#[test]
fn a_taken_port_is_named() {
    require_gate!();
    bootgate_testkit::require_root!();
    bootgate_testkit::require_commands!("unshare", "ip", "ss", "dnsmasq", "setpriv");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = null_modem();
    let lab = lab(folder.path(), &line);
    // Another DHCP server has the port.
    let first = "setpriv --pdeathsig KILL dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=lab0 --bind-interfaces \
         --dhcp-range=10.88.0.20,10.88.0.30 --dhcp-leasefile=/dev/null --log-facility=/dev/null &\n\
         until ss -Huln sport = :67 | grep -q .; do :; done";
    let run = in_lab(&lab, first).finish();
    run.assert_code(3);
    assert_eq!(run.verdict()["cause"], "port-taken", "{}", run.told());
    assert!(run.stdout.contains(":67"), "{}", run.told());
}
