//! A target and its driver task: the run loop asks, the task acts, and nothing waits for anything slow.

use std::time::Duration;

use bootgate_events::{EventKind, PowerCause, TargetName};
use bootgate_target::{BootSource, Target, TargetEvent};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::live::Input;
use crate::recorder::Fact;

/// Console bytes are logged at a line's end, or this long after the first byte of a chunk: long enough that a slow
/// serial port makes one event of a prompt, short enough that nobody notices.
const CHUNK_AGE: Duration = Duration::from_millis(15);

/// Console bytes are logged at this length at the latest.
const CHUNK_SIZE: usize = 4096;

/// What the run loop may ask of a target.
#[derive(Debug)]
pub(crate) enum Command {
    /// Attach the console and give power.
    PowerOn(BootSource),
    /// Take power away.
    PowerOff(PowerCause),
    /// Take power away and give it again.
    PowerCycle(BootSource),
    /// Type on the console.
    Type(Vec<u8>),
}

/// The run loop's handle to a target.
pub(crate) struct Machine {
    commands: mpsc::UnboundedSender<Command>,
    driver: JoinHandle<()>,
    pump: JoinHandle<()>,
}

impl Machine {
    /// Starts the tasks of a target whose events come from `events`.
    pub(crate) fn start(
        name: &TargetName,
        target: Box<dyn Target>,
        events: mpsc::Receiver<TargetEvent>,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let driver = tokio::spawn(drive(name.clone(), target, queue, inputs.clone()));
        let pump = tokio::spawn(pump(name.clone(), events, inputs));
        Self {
            commands,
            driver,
            pump,
        }
    }

    /// Asks for something. What comes of it is told as facts.
    pub(crate) fn ask(&self, command: Command) {
        // The driver ends only with the run, after which nobody asks.
        let _ = self.commands.send(command);
    }

    /// Lets the driver finish what it was asked, and waits until the target is gone and all its events are told.
    pub(crate) async fn finish(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        drop(self.commands);
        for mut task in [self.driver, self.pump] {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                let _ = task.await;
            }
        }
    }
}

async fn drive(
    name: TargetName,
    mut target: Box<dyn Target>,
    mut queue: mpsc::UnboundedReceiver<Command>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    while let Some(command) = queue.recv().await {
        let done = match command {
            Command::PowerOn(boot) => power_on(&mut *target, boot).await,
            Command::PowerOff(cause) => target.power_off(cause).await,
            Command::PowerCycle(boot) => match target.power_off(PowerCause::Harness).await {
                Ok(()) => power_on(&mut *target, boot).await,
                Err(error) => Err(error),
            },
            Command::Type(bytes) => {
                // A machine that is off has nobody who would read keys, and one that hangs does not read them: what
                // comes of it is seen on its console.
                let _ = target.write_console(&bytes).await;
                Ok(())
            }
        };
        if let Err(error) = done {
            let _ = inputs.send(Input::Fact(Fact::of(&name, error.to_event())));
        }
    }
}

async fn power_on(
    target: &mut dyn Target,
    boot: BootSource,
) -> Result<(), bootgate_target::TargetError> {
    target.attach_console().await?;
    target.power_on(boot).await
}

/// Hands the target's events to the run loop, small console reads joined into lines.
async fn pump(
    name: TargetName,
    mut events: mpsc::Receiver<TargetEvent>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut pending = Vec::new();
    let mut since = None;
    loop {
        let next = match since {
            Some(since) => timeout_at(since + CHUNK_AGE, events.recv()).await,
            None => Ok(events.recv().await),
        };
        let flush = match &next {
            Ok(Some(TargetEvent::Console(bytes))) => {
                pending.extend_from_slice(bytes);
                since.get_or_insert_with(Instant::now);
                pending.len() >= CHUNK_SIZE || bytes.contains(&b'\n')
            }
            _ => true,
        };
        if flush && !pending.is_empty() {
            since = None;
            let _ = inputs.send(Input::Console(name.clone(), std::mem::take(&mut pending)));
        }
        let kind = match next {
            Ok(Some(TargetEvent::Kind(kind))) => kind,
            Ok(Some(TargetEvent::ConsoleClosed(reason))) => EventKind::ConsoleClosed { reason },
            Ok(Some(TargetEvent::Console(_))) | Err(_) => continue,
            Ok(None) => return,
        };
        let _ = inputs.send(Input::Fact(Fact::of(&name, kind)));
    }
}
