//! Boards, played by a QEMU whose serial port is a pty and whose power switch is a script.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootgate_events::{EventKind, PowerCause};
use bootgate_target::{Board, BoardConfig, BootSource, PowerCommands, Target, TargetEvent};
use common::{MAC, Watch, contains, processes_in, qemu, until_gone};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// A pty in raw mode. The slave is held open, so that the master never sees a hang-up.
struct Pty {
    master: OwnedFd,
    _slave: OwnedFd,
    path: PathBuf,
}

impl Pty {
    fn open() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name: CString = ptsname(&master, Vec::new()).unwrap();
        let path = PathBuf::from(name.into_string().unwrap());
        let slave: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap()
            .into();
        let mut mode = tcgetattr(&slave).unwrap();
        mode.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &mode).unwrap();
        Self {
            master,
            _slave: slave,
            path,
        }
    }

    fn master(&self) -> File {
        self.master.as_fd().try_clone_to_owned().unwrap().into()
    }
}

/// A serial cable between two ptys; the threads end with the test's process.
fn cable(one: &Pty, other: &Pty) {
    for (mut from, mut to) in [
        (one.master(), other.master()),
        (other.master(), one.master()),
    ] {
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        });
    }
}

fn script(folder: &Path, name: &str, text: &str) -> Vec<String> {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    vec![path.to_string_lossy().into_owned()]
}

/// A board whose commands do nothing and say in `calls` that they were called.
fn config(folder: &Path, tty: &Path) -> BoardConfig {
    let note = |name: &str| {
        script(
            folder,
            name,
            &format!("echo \"{name} $BOOTGATE_TARGET $BOOTGATE_MAC $BOOTGATE_BOOT\" >> calls"),
        )
    };
    BoardConfig {
        name: "board-1".into(),
        firmware: "bios".to_owned(),
        mac: MAC,
        tty: tty.to_owned(),
        baud: 115_200,
        power: PowerCommands {
            on: note("on"),
            off: note("off"),
            cycle: None,
            timeout: Duration::from_secs(20),
            cwd: folder.to_owned(),
        },
    }
}

fn board(config: BoardConfig) -> (Board, Watch) {
    let (events, receiver) = mpsc::channel(256);
    (Board::new(config, events).unwrap(), Watch::new(receiver))
}

fn calls(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_behind_a_serial_line_and_a_switch_is_a_target_like_another() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Pty::open(), Pty::open());
    cable(&ours, &theirs);
    let pidfile = folder.path().join("machine.pid");
    let mut config = config(folder.path(), &ours.path);
    config.power.on = script(
        folder.path(),
        "machine-on",
        &format!(
            "exec {} -nodefaults -display none -machine q35,graphics=off -accel tcg -m 128 -daemonize -pidfile {} \
             -serial {} -netdev hubport,id=net0,hubid=0 -device virtio-net-pci,netdev=net0,mac=$BOOTGATE_MAC",
            binary.path.display(),
            pidfile.display(),
            theirs.path.display(),
        ),
    );
    config.power.off = script(
        folder.path(),
        "machine-off",
        "[ -e machine.pid ] || exit 0\nread pid < machine.pid\nkill -9 $pid\nwhile kill -0 $pid 2>/dev/null; do :; done\nrm machine.pid",
    );
    let (mut target, mut watch) = board(config);
    assert!(!target.capabilities().disk_access);
    assert_eq!(target.disk_path(), None);
    target.attach_console().await.unwrap();
    for _ in 0..2 {
        target.power_on(BootSource::Network).await.unwrap();
        watch
            .until_console("Press Ctrl-B for the iPXE command line")
            .await;
        target.write_console(b"\x02").await.unwrap();
        watch.until_console("iPXE> ").await;
        watch.console.clear();
        target.power_off(PowerCause::Harness).await.unwrap();
        assert_eq!(processes_in(folder.path()), Vec::<u32>::new());
    }
    // The console stayed; only the power went.
    let told = watch.names();
    assert!(!told.contains(&"console-closed"));

    target.power_on(BootSource::Disk).await.unwrap();
    watch.until_console("SeaBIOS").await;
    watch.console.clear();
    target.reset().await.unwrap();
    watch.until_console("SeaBIOS").await;
    // A board that is dropped while it has power is switched off.
    drop(target);
    until_gone(folder.path()).await;
}

#[tokio::test]
async fn power_commands_are_told_what_for_and_the_first_one_makes_sure_that_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let tty = Pty::open();
    let (mut target, mut watch) = board(config(folder.path(), &tty.path));
    assert_eq!(
        target.reset().await.unwrap_err().to_string(),
        "reset: the target is off"
    );
    target.power_off(PowerCause::Harness).await.unwrap();
    assert_eq!(calls(folder.path()), Vec::<String>::new());
    target.power_on(BootSource::Network).await.unwrap();
    assert!(target.power_on(BootSource::Network).await.is_err());
    target.power_off(PowerCause::Fault).await.unwrap();
    target.power_on(BootSource::Disk).await.unwrap();
    target.reset().await.unwrap();
    target.power_off(PowerCause::Harness).await.unwrap();
    let who = |call: &str, boot: &str| format!("{call} board-1 52:54:00:12:34:56 {boot}");
    assert_eq!(
        calls(folder.path()),
        [
            who("off", "network"),
            who("on", "network"),
            who("off", "network"),
            who("on", "disk"),
            who("off", "disk"),
            who("on", "disk"),
            who("off", "disk"),
        ]
    );
    let last = TargetEvent::Kind(EventKind::PoweredOff {
        cause: PowerCause::Harness,
    });
    watch.until(|_, event| (*event == last).then_some(())).await;
    assert_eq!(
        watch.names(),
        [
            "console-attached",
            "powered-on",
            "powered-off",
            "powered-on",
            "was-reset",
            "powered-off"
        ]
    );
}

#[tokio::test]
async fn a_cycle_command_is_used_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let tty = Pty::open();
    let mut config = config(folder.path(), &tty.path);
    config.power.cycle = Some(script(folder.path(), "cycle", "echo cycle >> calls"));
    let (mut target, _watch) = board(config);
    target.power_on(BootSource::Network).await.unwrap();
    target.reset().await.unwrap();
    assert_eq!(calls(folder.path()).last().unwrap(), "cycle");
    target.power_off(PowerCause::Harness).await.unwrap();
}

#[tokio::test]
async fn a_power_command_that_fails_hangs_or_is_absent_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tty = Pty::open();
    let power_on = async |on: Vec<String>| {
        let mut config = config(folder.path(), &tty.path);
        config.power.on = on;
        config.power.timeout = Duration::from_millis(300);
        let (mut target, _watch) = board(config);
        let error = target.power_on(BootSource::Network).await.unwrap_err();
        assert_eq!(error.what(), "power-failed", "{error}");
        // It may have power by now, whatever the command says.
        assert!(target.is_on());
        target.power_off(PowerCause::Harness).await.unwrap();
        error.to_string()
    };
    let failing = script(
        folder.path(),
        "failing",
        "echo no route to the switch >&2\nexit 7",
    );
    let error = power_on(failing).await;
    assert!(
        error.contains("no route to the switch") && error.contains("exit status: 7"),
        "{error}"
    );
    // The shell's child must go as well.
    let hanging = script(
        folder.path(),
        "hanging",
        &format!("tail -f {}", folder.path().join("calls").display()),
    );
    let error = power_on(hanging).await;
    assert!(error.contains("did not end within 0.3 s"), "{error}");
    until_gone(folder.path()).await;
    let error = power_on(vec!["/nonexistent/switch".to_owned()]).await;
    assert!(error.contains("/nonexistent/switch"), "{error}");
}

#[tokio::test]
async fn a_tty_that_is_absent_is_named_and_one_that_goes_away_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("tty");
    let (mut target, _watch) = board(config(folder.path(), &link));
    let error = target.attach_console().await.unwrap_err();
    assert_eq!(error.what(), "console-failed");
    assert!(
        error.to_string().contains(&link.display().to_string()),
        "{error}"
    );
    assert!(target.write_console(b"x").await.is_err());

    let first = Pty::open();
    symlink(&first.path, &link).unwrap();
    let (mut target, mut watch) = board(config(folder.path(), &link));
    target.attach_console().await.unwrap();
    first.master().write_all(b"one").unwrap();
    watch.until_console("one").await;

    std::fs::remove_file(&link).unwrap();
    drop(first);
    watch
        .until(|_, event| matches!(event, TargetEvent::ConsoleClosed(_)).then_some(()))
        .await;
    assert!(target.write_console(b"x").await.is_err());
    let second = Pty::open();
    symlink(&second.path, &link).unwrap();
    watch
        .until_kind(|kind| matches!(kind, EventKind::ConsoleAttached { .. }).then_some(()))
        .await;
    second.master().write_all(b"two").unwrap();
    watch.until_console("two").await;
    target.write_console(b"key").await.unwrap();
    let mut typed = [0; 3];
    second.master().read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"key");
    assert!(contains(&watch.console, "onetwo"));
}
