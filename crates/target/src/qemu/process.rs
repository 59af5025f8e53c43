//! Starting one QEMU process with its sockets.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use bootgate_events::EventKind;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::argv::{self, QMP_FD, SERIAL_FD};
use super::devices::{LinkKind, link_fds};
use super::flash::Flash;
use super::{NetLink, NicLink, QemuConfig};
use crate::{
    BootSource, EventSender, LaunchSpec, Launched, Launcher, ProcessControl, TargetError,
    TargetEvent,
};

/// Lines of standard error kept for messages.
const KEPT_LINES: usize = 8;

/// Longest line of standard error told in one event, in bytes.
const LONGEST_LINE: usize = 4096;

/// Kills the process when dropped. Killing one that has ended does nothing.
pub(crate) struct KillGuard(pub(crate) Arc<dyn ProcessControl>);

impl Drop for KillGuard {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// A QEMU process that was just started; its CPU waits.
pub(super) struct Started {
    pub(super) launched: Launched,
    pub(super) guard: KillGuard,
    pub(super) qmp: UnixStream,
    pub(super) stderr: Stderr,
}

/// A connected pair of stream sockets: our end and the one for QEMU.
pub(crate) fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// Starts QEMU and tells so.
pub(super) async fn start(
    config: &QemuConfig,
    boot: BootSource,
    flash: &Flash,
    serial: OwnedFd,
    launcher: &dyn Launcher,
    events: &EventSender,
) -> Result<Started, TargetError> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| TargetError::Io { action, source }
    };
    let (qmp, qmp_theirs) = socket_pair().map_err(failed("make the control channel"))?;
    let (stderr_ours, output) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))?;
    let mut fds = vec![(serial, SERIAL_FD), (qmp_theirs, QMP_FD)];
    let links = plug(config, &mut fds)
        .await
        .map_err(failed("plug in the network link"))?;
    let argv = argv::build(config, boot, &links, flash);
    let spec = LaunchSpec {
        argv: argv.clone(),
        env: Vec::new(),
        fds,
        output,
        cwd: None,
    };
    let launched = launcher
        .launch(spec)
        .await
        .map_err(|source| launch_error(config, source))?;
    let guard = KillGuard(Arc::clone(&launched.control));
    // Nobody may listen to events; the machine runs all the same.
    let _ = events
        .send(TargetEvent::Kind(EventKind::QemuStarted { argv }))
        .await;
    let stderr =
        Stderr::read(stderr_ours, events.clone()).map_err(failed("read QEMU's messages"))?;
    Ok(Started {
        launched,
        guard,
        qmp,
        stderr,
    })
}

/// Makes the link of each interface, and adds its descriptors.
async fn plug(config: &QemuConfig, fds: &mut Vec<(OwnedFd, i32)>) -> io::Result<Vec<LinkKind>> {
    let mut links = Vec::new();
    for (index, nic) in config.nics.iter().enumerate() {
        let (number, far_number) = link_fds(index);
        let (fd, kind) = match &nic.link {
            NicLink::Plugged(source) => match source().await? {
                NetLink::Socket { fd } => (fd, LinkKind::Socket),
                NetLink::Tap { fd } => (fd, LinkKind::Tap),
            },
            NicLink::Dead | NicLink::Down => {
                // QEMU holds both ends: what it sends goes nowhere and nothing comes.
                let (near, far) = StdUnixStream::pair()?;
                fds.push((far.into(), far_number));
                (near.into(), LinkKind::Socket)
            }
        };
        fds.push((fd, number));
        links.push(kind);
    }
    Ok(links)
}

fn launch_error(config: &QemuConfig, source: io::Error) -> TargetError {
    if source.kind() == io::ErrorKind::NotFound {
        let missing = config
            .firmware
            .arch()
            .missing(&config.binary.path.display().to_string());
        return missing.into();
    }
    TargetError::Io {
        action: format!("start `{}`", config.binary.path.display()),
        source,
    }
}

/// The reader of QEMU's standard error: each line is an event at once.
pub(super) struct Stderr {
    pub(super) task: JoinHandle<()>,
    kept: Arc<Mutex<VecDeque<String>>>,
}

impl Stderr {
    fn read(fd: OwnedFd, events: EventSender) -> io::Result<Self> {
        let reader = pipe::Receiver::from_owned_fd(fd)?;
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let task = tokio::spawn(read_lines(reader, Arc::clone(&kept), events));
        Ok(Self { task, kept })
    }

    /// The last lines, joined.
    pub(super) fn last_lines(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

async fn read_lines(
    reader: pipe::Receiver,
    kept: Arc<Mutex<VecDeque<String>>>,
    events: EventSender,
) {
    let mut reader = BufReader::new(reader);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        // A read error is the end as well: the pipe is all there is.
        if !matches!(reader.read_until(b'\n', &mut raw).await, Ok(1..)) {
            return;
        }
        raw.truncate(LONGEST_LINE);
        let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line.clone());
        }
        let kvm_error = line.contains("KVM internal error");
        // Nobody may listen; QEMU must not block on a full pipe.
        let _ = events
            .send(TargetEvent::Kind(EventKind::QemuStderr {
                line: line.clone(),
            }))
            .await;
        if kvm_error {
            // QEMU stops the guest and stays: say at once that it will not go on.
            let _ = events
                .send(TargetEvent::Kind(EventKind::InfraFailed {
                    what: "kvm-error".to_owned(),
                    error: line,
                    hint: "KVM does not work for this guest here: run with --accel tcg".to_owned(),
                }))
                .await;
        }
    }
}
