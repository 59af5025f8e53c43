//! The supervisor's end of the control socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::enter::reap;
use super::{ExitStatus, HolderExit};
use crate::SandboxError;
use crate::channel::Channel;
use crate::protocol::{Call, Failure, Message, Reply, Request};

/// How long a call may take; the longest take a few tens of milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An answered call: the reply, its descriptors, and the exit of the program it started, if it did.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) exit: Option<oneshot::Receiver<ExitStatus>>,
}

type Waiting = oneshot::Sender<Result<Answer, Failure>>;

/// What calls and the reader thread share.
#[derive(Debug)]
struct Shared {
    control: Channel,
    pidfd: OwnedFd,
    state: Mutex<State>,
    gone: watch::Sender<Option<HolderExit>>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: HashMap<u64, Waiting>,
    running: HashMap<i32, oneshot::Sender<ExitStatus>>,
}

/// Asks the holder and listens to it, on a thread that starts with the first call, so that a second sandbox can
/// still be entered before it. Dropping it kills the holder and waits until it is gone.
#[derive(Debug)]
pub(super) struct Client {
    pid: i32,
    shared: Arc<Shared>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    pub(super) fn new(control: Channel, pid: i32, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            shared: Arc::new(Shared {
                control,
                pidfd,
                state: Mutex::default(),
                gone: watch::Sender::new(None),
            }),
            reader: Mutex::new(None),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn control(&self) -> &Channel {
        &self.shared.control
    }

    /// Asks for something. `action` names it in errors.
    pub(super) async fn call(
        &self,
        action: &str,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, SandboxError> {
        let refused = |source| SandboxError::Refused {
            action: action.to_owned(),
            source,
        };
        self.listen().map_err(refused)?;
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.shared.state();
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, sender);
            id
        };
        if let Err(error) = self.shared.control.send(&Call { id, request }, fds) {
            self.shared.state().waiting.remove(&id);
            if !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) {
                return Err(refused(error));
            }
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Err(_) => Err(SandboxError::Timeout {
                action: action.to_owned(),
                seconds: ANSWER_WITHIN.as_secs(),
            }),
            Ok(Err(_)) => Err(SandboxError::HolderGone {
                exit: self.gone().await.0,
            }),
            Ok(Ok(Err(failure))) => Err(SandboxError::Refused {
                source: failure.source(),
                action: failure.action,
            }),
            Ok(Ok(Ok(answer))) => Ok(answer),
        }
    }

    /// Waits until the holder ends.
    pub(super) async fn gone(&self) -> HolderExit {
        if let Err(error) = self.listen() {
            return HolderExit(error.to_string());
        }
        let mut gone = self.shared.gone.subscribe();
        match gone.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(HolderExit(String::new())),
            Err(_) => HolderExit("unknown cause".to_owned()),
        }
    }

    /// Kills the holder; [`Client::gone`] tells when it is done.
    pub(super) fn kill(&self) {
        let _ =
            rustix::process::pidfd_send_signal(&self.shared.pidfd, rustix::process::Signal::KILL);
    }

    /// Starts the reader thread, once.
    fn listen(&self) -> io::Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_none() {
            let shared = Arc::clone(&self.shared);
            *reader = Some(
                std::thread::Builder::new()
                    .name("sandbox".to_owned())
                    .spawn(move || shared.read())?,
            );
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let reader = self
            .reader
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match reader {
            Some(reader) => {
                self.kill();
                let _ = reader.join();
            }
            None => {
                reap(&self.shared.pidfd, true);
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the holder says until it is gone, then collects it.
    fn read(&self) {
        loop {
            match self.control.receive::<Message>() {
                Ok(Some((message, fds))) => self.take(message, fds),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the holder's message is not understood");
                    break;
                }
            }
        }
        // A holder that closed its socket or speaks nonsense is of no use any more.
        let exit = reap(&self.pidfd, true);
        let mut state = self.state();
        self.gone.send_replace(Some(HolderExit(exit)));
        state.waiting.clear();
        state.running.clear();
    }

    fn take(&self, message: Message, fds: Vec<OwnedFd>) {
        match message {
            Message::Ready | Message::NotReady(_) => {}
            Message::Exited { pid, status } => {
                if let Some(exit) = self.state().running.remove(&pid) {
                    let _ = exit.send(status);
                }
            }
            Message::Reply { id, result } => {
                let mut state = self.state();
                let Some(waiting) = state.waiting.remove(&id) else {
                    return;
                };
                let answer = result.map(|reply| {
                    let exit = if let Reply::Spawned { pid } = reply {
                        let (sender, exit) = oneshot::channel();
                        state.running.insert(pid, sender);
                        Some(exit)
                    } else {
                        None
                    };
                    Answer { reply, fds, exit }
                });
                let _ = waiting.send(answer);
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.pidfd.as_fd()
    }
}
