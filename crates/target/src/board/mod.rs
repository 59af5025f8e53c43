//! Real machines: a console on a tty and power by commands.

mod power;
mod serial;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootgate_events::{EventKind, MacAddr, PowerCause, TargetFacts, TargetName};

use crate::{BootSource, BoxFuture, Capabilities, EventSender, Target, TargetError, TargetEvent};
use serial::SerialConsole;

/// A real machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardConfig {
    /// Its name in the scenario.
    pub name: TargetName,
    /// `bios` or `uefi`, for reports.
    pub firmware: String,
    /// The address it boots from.
    pub mac: MacAddr,
    /// The tty its console is on, e.g. `/dev/ttyUSB0`.
    pub tty: PathBuf,
    /// Bits per second of the console, e.g. 115200; 8 data bits, no parity, 1 stop bit, no flow control.
    pub baud: u32,
    /// How it gets and loses power.
    pub power: PowerCommands,
}

/// Commands that switch a board's power. They run on the host without a shell, with `BOOTGATE_TARGET` (the name),
/// `BOOTGATE_MAC` (colons) and `BOOTGATE_BOOT` (`network` or `disk`) in their environment, and must end with
/// status 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerCommands {
    /// Program and arguments that give power.
    pub on: Vec<String>,
    /// Program and arguments that take it away. Must succeed where power is off already.
    pub off: Vec<String>,
    /// Program and arguments that take power away and give it again; `off`, then `on`, where `None`.
    pub cycle: Option<Vec<String>>,
    /// The longest time for one command; it is killed then.
    pub timeout: Duration,
    /// Working directory of the commands: the scenario's folder.
    pub cwd: PathBuf,
}

/// A real machine on a serial line.
pub struct Board {
    config: BoardConfig,
    events: EventSender,
    console: Option<SerialConsole>,
    /// What it was last powered on with; `None` while it is off.
    on: Option<BootSource>,
    /// Whether its power was ever switched: before that, nobody knows whether it is on.
    known: bool,
}

impl Board {
    /// A board whose power is not touched yet. The first [`Target::power_on`] switches it off first, since nobody
    /// knows in which state the last user left it.
    ///
    /// # Errors
    /// A power command is empty or the baud rate is 0.
    pub fn new(config: BoardConfig, events: EventSender) -> Result<Self, TargetError> {
        let problem = |problem: &str| {
            Err(TargetError::Config {
                name: config.name.to_string(),
                problem: problem.to_owned(),
            })
        };
        if config.baud == 0 {
            return problem("the console's baud rate is 0");
        }
        let power = &config.power;
        if [Some(&power.on), Some(&power.off), power.cycle.as_ref()]
            .into_iter()
            .flatten()
            .any(Vec::is_empty)
        {
            return problem("a power command names no program");
        }
        Ok(Self {
            config,
            events,
            console: None,
            on: None,
            known: false,
        })
    }

    async fn attach(&mut self) -> Result<(), TargetError> {
        if self.console.is_none() {
            let console =
                SerialConsole::open(&self.config.tty, self.config.baud, self.events.clone())
                    .await?;
            self.console = Some(console);
        }
        Ok(())
    }

    async fn start(&mut self, boot: BootSource) -> Result<(), TargetError> {
        if self.on.is_some() {
            return Err(TargetError::State {
                action: "power on",
                state: "on",
            });
        }
        self.attach().await?;
        if !self.known {
            power::run(&self.config, &self.config.power.off, boot).await?;
            self.known = true;
        }
        // From here on it must be switched off again, even where the command fails half-way. Told first, so that
        // nothing the board says comes before it.
        self.on = Some(boot);
        self.tell(EventKind::PoweredOn {
            boot: boot.as_str().to_owned(),
        })
        .await;
        power::run(&self.config, &self.config.power.on, boot).await
    }

    async fn stop(&mut self, cause: PowerCause) -> Result<(), TargetError> {
        if let Some(boot) = self.on {
            power::run(&self.config, &self.config.power.off, boot).await?;
            self.on = None;
            self.tell(EventKind::PoweredOff { cause }).await;
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), TargetError> {
        let Some(boot) = self.on else {
            return Err(TargetError::State {
                action: "reset",
                state: "off",
            });
        };
        self.tell(EventKind::WasReset {
            cause: PowerCause::Harness,
        })
        .await;
        let power = &self.config.power;
        if let Some(cycle) = &power.cycle {
            return power::run(&self.config, cycle, boot).await;
        }
        power::run(&self.config, &power.off, boot).await?;
        power::run(&self.config, &power.on, boot).await
    }

    async fn tell(&self, kind: EventKind) {
        // Nobody may listen; the board runs all the same.
        let _ = self.events.send(TargetEvent::Kind(kind)).await;
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(boot) = self.on {
            power::run_detached(&self.config, &self.config.power.off, boot);
        }
    }
}

impl Target for Board {
    fn facts(&self) -> TargetFacts {
        TargetFacts {
            name: self.config.name.clone(),
            driver: "board".to_owned(),
            firmware: self.config.firmware.clone(),
            mac: self.config.mac,
            image_sha256: None,
            deadlines_ms: BTreeMap::new(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            disk_access: false,
            network_boot_switch: false,
            reports_guest_power: false,
            warm_reset: false,
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
        Box::pin(async move {
            match &self.console {
                Some(console) => console.write(bytes).await,
                None => Err(TargetError::Console {
                    action: "write to",
                    console: self.config.tty.display().to_string(),
                    source: io::ErrorKind::NotConnected.into(),
                }),
            }
        })
    }

    fn is_on(&self) -> bool {
        self.on.is_some()
    }

    fn disk_path(&self) -> Option<&Path> {
        None
    }
}
