//! Running the probe guest.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::rom;
use super::{Accel, AccelError};
use crate::discovery::{Arch, QemuBinary};
use crate::qemu::{KillGuard, cpu_model, socket_pair};
use crate::{LaunchSpec, Launched, Launcher};

/// Longest time for the probe: a hundred times what it takes, since a guest that hangs is one of the answers. Hardware
/// takes some milliseconds, and everybody waits for a KVM that hangs.
fn limit(accel: Accel) -> Duration {
    Duration::from_secs(match accel {
        Accel::Kvm => 4,
        Accel::Tcg => 20,
    })
}

/// Number of the guest's voice in QEMU.
const DEBUGCON_FD: i32 = 10;
/// Number of the ROM's file in QEMU.
const ROM_FD: i32 = 11;

/// Runs the probe guest and gives the time of its fastest round.
pub(super) async fn run(
    accel: Accel,
    qemu: &QemuBinary,
    launcher: &dyn Launcher,
) -> Result<Duration, AccelError> {
    let problem = |problem: String| AccelError::Probe { accel, problem };
    let (spec, voice, messages) =
        prepare(accel, qemu).map_err(|error| problem(error.to_string()))?;
    let launched = launcher
        .launch(spec)
        .await
        .map_err(|error| problem(format!("start `{}`: {error}", qemu.path.display())))?;
    let Launched { exit, control, .. } = launched;
    let guard = KillGuard(control);
    let limit = limit(accel);
    let rounds = timeout(limit, listen(voice)).await;
    let heard = match rounds {
        Ok(Ok(fastest)) => Ok(fastest),
        Ok(Err(error)) => Err(format!("it ended early ({error})")),
        Err(_) => Err(format!("it did not finish within {} s", limit.as_secs())),
    };
    if heard.is_err() {
        drop(guard);
    }
    let outcome = timeout(limit, exit).await;
    let ended_well = matches!(outcome, Ok(outcome) if outcome.code == Some(rom::EXIT_STATUS));
    match heard {
        Ok(fastest) if ended_well => Ok(fastest),
        Ok(_) => Err(problem(format!("it did not end as told{}", said(messages)))),
        Err(what) => Err(problem(format!("{what}{}", said(messages)))),
    }
}

/// Reads what the guest says and gives the time of its fastest round: the least disturbed one.
async fn listen(mut voice: UnixStream) -> io::Result<Duration> {
    while voice.read_u8().await? != rom::STARTED {}
    let mut fastest = Duration::MAX;
    for _ in 0..rom::ROUNDS {
        let since = Instant::now();
        while voice.read_u8().await? != rom::ROUND_DONE {}
        fastest = fastest.min(since.elapsed());
    }
    Ok(fastest)
}

fn prepare(accel: Accel, qemu: &QemuBinary) -> io::Result<(LaunchSpec, UnixStream, std::fs::File)> {
    let (voice, voice_theirs) = socket_pair()?;
    // The ROM and the messages live in memory: nothing of the probe stays behind.
    let mut rom_file =
        std::fs::File::from(memfd_create("bootgate-probe-rom", MemfdFlags::CLOEXEC)?);
    rom_file.write_all(&rom::build())?;
    seek(rom_file.as_fd(), SeekFrom::Start(0))?;
    let messages = std::fs::File::from(memfd_create(
        "bootgate-probe-messages",
        MemfdFlags::CLOEXEC,
    )?);
    let argv = [
        qemu.path.to_string_lossy().as_ref(),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        &format!("type=pc,accel={accel}"),
        "-cpu",
        cpu_model(Arch::X86_64, accel),
        "-m",
        "16M",
        "-bios",
        &format!("/proc/self/fd/{ROM_FD}"),
        "-chardev",
        &format!("socket,id=voice,fd={DEBUGCON_FD}"),
        "-device",
        &format!(
            "isa-debugcon,iobase={:#x},chardev=voice",
            rom::DEBUGCON_PORT
        ),
        "-device",
        &format!("isa-debug-exit,iobase={:#x},iosize=1", rom::EXIT_PORT),
    ]
    .map(str::to_owned);
    let spec = LaunchSpec {
        argv: argv.to_vec(),
        env: Vec::new(),
        fds: vec![(voice_theirs, DEBUGCON_FD), (rom_file.into(), ROM_FD)],
        output: messages.try_clone()?.into(),
        cwd: None,
    };
    Ok((spec, voice, messages))
}

/// What QEMU wrote, for a message.
fn said(messages: std::fs::File) -> String {
    let mut text = String::new();
    let read = seek(messages.as_fd(), SeekFrom::Start(0))
        .map_err(io::Error::from)
        .and_then(|_| io::Read::read_to_string(&mut io::BufReader::new(messages), &mut text));
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match (read, line) {
        (Ok(_), Some(line)) => format!("; QEMU said: {line}"),
        _ => String::new(),
    }
}
