//! Running a board's power commands.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Command as StdCommand, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::BoardConfig;
use crate::{BootSource, TargetError};

/// Bytes of a command's messages that are told when it fails.
const TOLD: u64 = 2048;

/// Runs one power command to its end, within its time.
pub(super) async fn run(
    config: &BoardConfig,
    argv: &[String],
    boot: BootSource,
) -> Result<(), TargetError> {
    let failed = |problem: String| TargetError::Power {
        command: argv.join(" "),
        problem,
    };
    // A file and not a pipe: a command may leave a process running that keeps its standard error open.
    let messages = memfd_create("bootgate-power", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|error| failed(format!("could not be run: {error}")))?;
    let spawned = command(config, argv, boot, Some(&messages))
        .and_then(|command| Command::from(command).kill_on_drop(true).spawn());
    let mut child = spawned.map_err(|error| failed(format!("could not be run: {error}")))?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let limit = config.power.timeout;
    let Ok(ended) = timeout(limit, child.wait()).await else {
        if let Some(group) = group {
            // Its children too; an error means that they have ended in between.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let problem = format!("did not end within {} s", limit.as_secs_f64());
        return Err(failed(problem + &said(messages)));
    };
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("failed ({status}){}", said(messages)))),
        Err(error) => Err(failed(format!("could not be waited for: {error}"))),
    }
}

/// Starts a power command and leaves it to itself: the last resort of a board that is dropped while it is on.
pub(super) fn run_detached(config: &BoardConfig, argv: &[String], boot: BootSource) {
    let spawned = command(config, argv, boot, None).and_then(|mut command| command.spawn());
    match spawned {
        Ok(mut child) => {
            std::thread::spawn(move || child.wait());
        }
        Err(error) => tracing::warn!("run power command `{}`: {error}", argv.join(" ")),
    }
}

fn command(
    config: &BoardConfig,
    argv: &[String],
    boot: BootSource,
    messages: Option<&File>,
) -> io::Result<StdCommand> {
    use std::os::unix::process::CommandExt;

    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let output = || match messages {
        Some(file) => file.try_clone().map(Stdio::from),
        None => Ok(Stdio::null()),
    };
    let mut command = StdCommand::new(program);
    command
        .args(arguments)
        .env("BOOTGATE_TARGET", config.name.as_str())
        .env("BOOTGATE_MAC", config.mac.to_string())
        .env("BOOTGATE_BOOT", boot.as_str())
        .current_dir(&config.power.cwd)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?);
    Ok(command)
}

/// What the command wrote, for a message.
fn said(mut messages: File) -> String {
    let mut bytes = Vec::new();
    let read = messages
        .seek(SeekFrom::Start(0))
        .and_then(|_| messages.take(TOLD).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    match (read, text.trim()) {
        (Ok(_), text) if !text.is_empty() => format!(": {text}"),
        _ => String::new(),
    }
}
