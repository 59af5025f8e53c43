//! The life of a virtual machine.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bootgate_events::{EventKind, PowerCause, TargetFacts};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::timeout;

use super::absent_tpm;
use super::flash::Flash;
use super::process::{self, KillGuard, Started};
use super::qmp::{Qmp, QmpError};
use super::watcher::{ConsoleTask, Intent, Progress, Watcher};
use super::{Disk, Firmware, NicLink, QemuConfig};
use crate::console::drain;
use crate::{
    BootSource, BoxFuture, Capabilities, EventSender, Launcher, Target, TargetError, TargetEvent,
};

/// Longest time for QEMU to start and answer; generous, since a loaded host is slow.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Longest time for a QMP command.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for QEMU to end on `quit` before it is killed, and to end when killed.
const QUIT_LIMIT: Duration = Duration::from_secs(3);
/// Longest time for SeaBIOS to reset the machine again.
const SECOND_RESET_LIMIT: Duration = Duration::from_secs(2);
/// Longest time between that and a further one.
const LATER_RESET_LIMIT: Duration = Duration::from_millis(300);
/// Longest time for the console to take what is typed.
const TYPE_LIMIT: Duration = Duration::from_secs(5);

/// A virtual machine. Each power-on is a QEMU process of its own; the disk file and the variable store stay.
pub struct Qemu {
    config: QemuConfig,
    flash: Flash,
    launcher: Arc<dyn Launcher>,
    events: EventSender,
    console: Option<AttachedConsole>,
    running: Option<Running>,
}

/// A console that waits for its machine.
struct AttachedConsole {
    task: ConsoleTask,
    writer: OwnedWriteHalf,
    qemu_end: OwnedFd,
}

/// A machine that has power, or had it a moment ago.
struct Running {
    boot: BootSource,
    qmp: Qmp,
    writer: OwnedWriteHalf,
    intent: Intent,
    echo: Arc<AtomicBool>,
    progress: watch::Receiver<Progress>,
    guard: KillGuard,
}

impl Running {
    /// Notes who ends it, where nobody is noted yet.
    fn intend(&self, cause: PowerCause) {
        let mut intent = self.intent.lock().unwrap_or_else(PoisonError::into_inner);
        intent.get_or_insert(cause);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.intend(PowerCause::Harness);
    }
}

impl Qemu {
    /// A machine that is off. Nothing is started and no file is touched yet.
    ///
    /// # Errors
    /// The configuration cannot work, or a file it names does not exist.
    pub fn new(
        config: QemuConfig,
        launcher: Arc<dyn Launcher>,
        events: EventSender,
    ) -> Result<Self, TargetError> {
        config.check()?;
        let flash = Flash::new(&config);
        Ok(Self {
            config,
            flash,
            launcher,
            events,
            console: None,
            running: None,
        })
    }

    async fn attach(&mut self) -> Result<(), TargetError> {
        if self.console.is_some() || self.is_on() {
            return Ok(());
        }
        let (ours, qemu_end) = process::socket_pair().map_err(|source| TargetError::Console {
            action: "make",
            console: "serial0".to_owned(),
            source,
        })?;
        let (mut reader, writer) = ours.into_split();
        let (machine_ended, ended) = watch::channel(false);
        self.tell(EventKind::ConsoleAttached {
            source: "QEMU serial0 (socket)".to_owned(),
        })
        .await;
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            match drain(&mut reader, &events, ended).await {
                Ok(()) => "QEMU closed it".to_owned(),
                Err(error) => error.to_string(),
            }
        });
        self.console = Some(AttachedConsole {
            task: ConsoleTask {
                task,
                machine_ended,
            },
            writer,
            qemu_end,
        });
        Ok(())
    }

    async fn start(&mut self, boot: BootSource) -> Result<(), TargetError> {
        if self.is_on() {
            return Err(TargetError::State {
                action: "power on",
                state: "on",
            });
        }
        self.running = None;
        self.config.check()?;
        self.flash.prepare(&self.config, boot).await?;
        absent_tpm::prepare(&self.config).await?;
        self.attach().await?;
        let Some(console) = self.console.take() else {
            return Err(TargetError::State {
                action: "attach the console",
                state: "off",
            });
        };
        let AttachedConsole {
            task: console,
            writer,
            qemu_end,
        } = console;
        let started = process::start(
            &self.config,
            boot,
            &self.flash,
            qemu_end,
            self.launcher.as_ref(),
            &self.events,
        )
        .await;
        let Started {
            launched,
            guard,
            qmp,
            stderr,
        } = match started {
            Ok(started) => started,
            Err(error) => {
                let reason = console.finish().await;
                self.send(TargetEvent::ConsoleClosed(reason)).await;
                return Err(error);
            }
        };
        let (progress_sender, progress) = watch::channel(Progress::default());
        let intent = Intent::default();
        let echo = Arc::new(AtomicBool::new(false));
        let connected = Qmp::connect(qmp, START_LIMIT).await;
        let (qmp, qmp_events) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                drop(guard);
                let outcome = launched.exit.await;
                let reason = console.finish().await;
                let last_lines = stderr.finish().await;
                self.send(TargetEvent::ConsoleClosed(reason)).await;
                self.tell(EventKind::QemuExited {
                    code: outcome.code,
                    signal: outcome.signal,
                    expected: false,
                })
                .await;
                return Err(start_error(&error, last_lines));
            }
        };
        let watcher = Watcher {
            exit: launched.exit,
            qmp_events,
            stderr,
            console,
            intent: Arc::clone(&intent),
            echo: Arc::clone(&echo),
            events: self.events.clone(),
            progress: progress_sender,
        };
        let running = Running {
            boot,
            qmp,
            writer,
            intent,
            echo,
            progress,
            guard,
        };
        // Told before the CPU runs, so that nothing the guest does comes before it.
        self.tell(EventKind::PoweredOn {
            boot: boot.as_str().to_owned(),
        })
        .await;
        tokio::spawn(watcher.run());
        self.pull_cables(&running.qmp).await?;
        absent_tpm::show(&self.config, &running.qmp, COMMAND_LIMIT).await;
        // From here on the machine is stopped when `running` is dropped, by an error or by its owner.
        let resumed = running.qmp.execute("cont", Value::Null, COMMAND_LIMIT);
        match resumed.await {
            // Where QEMU has ended in between, the watcher knows how, and tells it.
            Ok(_) | Err(QmpError::Closed) => {}
            Err(error) => return Err(command_error("cont", &error)),
        }
        self.running = Some(running);
        Ok(())
    }

    /// Takes the link from the interfaces that have no cable.
    async fn pull_cables(&self, qmp: &Qmp) -> Result<(), TargetError> {
        for (index, nic) in self.config.nics.iter().enumerate() {
            if matches!(nic.link, NicLink::Down) {
                let down = json!({ "name": format!("nic{index}"), "up": false });
                command(qmp, "set_link", down).await?;
            }
        }
        Ok(())
    }

    async fn stop(&mut self, cause: PowerCause) -> Result<(), TargetError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        running.intend(cause);
        if !running.progress.borrow().exited {
            // Asked politely first: QEMU then leaves the disk in order. An error shows in what follows.
            let _ = running.qmp.execute("quit", Value::Null, QUIT_LIMIT).await;
            if !reached(&mut running.progress, QUIT_LIMIT, |p| p.exited).await {
                running.guard.0.kill();
                if !reached(&mut running.progress, QUIT_LIMIT, |p| p.exited).await {
                    return Err(TargetError::Qmp {
                        command: "quit".to_owned(),
                        problem: "QEMU does not end, not even when killed".to_owned(),
                    });
                }
            }
        }
        // The last console bytes and the end are told; a listener that does not take them cannot hold up the caller
        // for ever.
        reached(&mut running.progress, QUIT_LIMIT, |p| p.done).await;
        self.running = None;
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), TargetError> {
        let answers_itself = self.config.firmware == Firmware::Bios;
        let running = self.powered("reset")?;
        let before = running.progress.borrow().resets;
        // In a network boot QEMU is told to end on a reboot, which would include this one.
        let action = |reboot: &str| json!({ "reboot": reboot });
        command(&running.qmp, "set-action", action("reset")).await?;
        running.echo.store(answers_itself, Ordering::Relaxed);
        command(&running.qmp, "system_reset", Value::Null).await?;
        if !reached(&mut running.progress, COMMAND_LIMIT, |p| p.resets > before).await {
            return Err(TargetError::Qmp {
                command: "system_reset".to_owned(),
                problem: "QEMU did not tell of the reset".to_owned(),
            });
        }
        if answers_itself {
            // SeaBIOS that finds itself started before (`HaveRunPost`, src/post.c) resets the machine again, by two ways
            // at once. It does not where it was reset before it had come that far.
            let mut limit = SECOND_RESET_LIMIT;
            let mut seen = before + 1;
            while reached(&mut running.progress, limit, |p| p.resets > seen).await {
                seen = running.progress.borrow().resets;
                limit = LATER_RESET_LIMIT;
            }
            running.echo.store(false, Ordering::Relaxed);
        }
        if running.boot == BootSource::Network {
            command(&running.qmp, "set-action", action("shutdown")).await?;
        }
        Ok(())
    }

    async fn type_bytes(&mut self, bytes: &[u8]) -> Result<(), TargetError> {
        let running = self.powered("type on the console")?;
        timeout(TYPE_LIMIT, running.writer.write_all(bytes))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| TargetError::Console {
                action: "write to",
                console: "serial0".to_owned(),
                source,
            })
    }

    fn powered(&mut self, action: &'static str) -> Result<&mut Running, TargetError> {
        match &mut self.running {
            Some(running) if !running.progress.borrow().exited => Ok(running),
            _ => Err(TargetError::State {
                action,
                state: "off",
            }),
        }
    }

    async fn tell(&self, kind: EventKind) {
        self.send(TargetEvent::Kind(kind)).await;
    }

    async fn send(&self, event: TargetEvent) {
        // Nobody may listen; the machine runs all the same.
        let _ = self.events.send(event).await;
    }
}

/// Whether the watcher says within `limit` that `state` holds.
async fn reached(
    progress: &mut watch::Receiver<Progress>,
    limit: Duration,
    state: impl Fn(&Progress) -> bool + Send,
) -> bool {
    let waited = progress.wait_for(|progress| state(progress));
    timeout(limit, async { waited.await.is_ok() })
        .await
        .unwrap_or(false)
}

async fn command(qmp: &Qmp, name: &str, arguments: Value) -> Result<(), TargetError> {
    qmp.execute(name, arguments, COMMAND_LIMIT)
        .await
        .map(drop)
        .map_err(|error| command_error(name, &error))
}

fn command_error(name: &str, error: &QmpError) -> TargetError {
    TargetError::Qmp {
        command: name.to_owned(),
        problem: error.to_string(),
    }
}

fn start_error(error: &QmpError, stderr: String) -> TargetError {
    match error {
        QmpError::Closed => TargetError::QemuEnded { stderr },
        other => command_error("qmp_capabilities", other),
    }
}

impl Target for Qemu {
    fn facts(&self) -> TargetFacts {
        TargetFacts {
            name: self.config.name.clone(),
            driver: "qemu".to_owned(),
            firmware: self.config.firmware.as_str().to_owned(),
            mac: self.config.mac(),
            image_sha256: None,
            deadlines_ms: std::collections::BTreeMap::new(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            disk_access: self.config.disk.is_some(),
            network_boot_switch: true,
            reports_guest_power: true,
            warm_reset: true,
        }
    }

    fn attach_console(&mut self) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(self.attach())
    }

    fn power_on(&mut self, boot: BootSource) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(self.start(boot))
    }

    fn power_off(&mut self, cause: PowerCause) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(self.stop(cause))
    }

    fn reset(&mut self) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(self.restart())
    }

    fn write_console<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(self.type_bytes(bytes))
    }

    fn is_on(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| !running.progress.borrow().exited)
    }

    fn disk_path(&self) -> Option<&Path> {
        self.config
            .disk
            .as_ref()
            .map(|Disk { path, .. }| path.as_path())
    }
}
