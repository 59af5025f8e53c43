//! Real machines: a console on a tty and power by commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bootgate_events::{MacAddr, PowerCause, TargetFacts, TargetName};

use crate::{BootSource, BoxFuture, Capabilities, EventSender, Target, TargetError};

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
    _config: BoardConfig,
    _events: EventSender,
}

impl Board {
    /// A board whose power is not touched yet. It is taken to be off; the first [`Target::power_on`] switches it off
    /// first, to be sure of it.
    ///
    /// # Errors
    /// A power command is empty or the baud rate is 0.
    pub fn new(config: BoardConfig, events: EventSender) -> Result<Self, TargetError> {
        Ok(Self {
            _config: config,
            _events: events,
        })
    }
}

impl Target for Board {
    fn facts(&self) -> TargetFacts {
        todo!()
    }
    fn capabilities(&self) -> Capabilities {
        todo!()
    }
    fn attach_console(&mut self) -> BoxFuture<'_, Result<(), TargetError>> {
        todo!()
    }
    fn power_on(&mut self, _boot: BootSource) -> BoxFuture<'_, Result<(), TargetError>> {
        todo!()
    }
    fn power_off(&mut self, _cause: PowerCause) -> BoxFuture<'_, Result<(), TargetError>> {
        todo!()
    }
    fn reset(&mut self) -> BoxFuture<'_, Result<(), TargetError>> {
        todo!()
    }
    fn write_console<'a>(&'a mut self, _bytes: &'a [u8]) -> BoxFuture<'a, Result<(), TargetError>> {
        todo!()
    }
    fn is_on(&self) -> bool {
        false
    }
    fn disk_path(&self) -> Option<&Path> {
        None
    }
}
