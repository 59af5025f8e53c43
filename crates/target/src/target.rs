//! What every machine under test can do.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use bootgate_events::{EventKind, PowerCause, TargetFacts};
use tokio::sync::mpsc;

use crate::TargetError;

/// A future that can be held in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a target tells what happened to it.
///
/// The channel is bounded on purpose: a target that is not listened to stops reading its console after the
/// channel and one read buffer are full, and never drops a byte. Whoever owns the receiver must keep taking.
/// Closing the receiver is allowed: the target then drains its console into nothing.
pub type EventSender = mpsc::Sender<TargetEvent>;

/// From what a target may boot after power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootSource {
    /// The disk first; where that is blank, the network.
    Network,
    /// The disk alone. The network interface is there, and firmware is told not to boot from it.
    Disk,
}

impl BootSource {
    /// `network` or `disk`, as [`EventKind::PoweredOn`] and `BOOTGATE_BOOT` spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BootSource::Network => "network",
            BootSource::Disk => "disk",
        }
    }
}

/// What a kind of target can do beyond power and console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The host can read the target's disk while the target is off ([`Target::disk_path`] is `Some`).
    pub disk_access: bool,
    /// Network boot can be switched off for one power-on, so that [`BootSource::Disk`] holds by itself. Where it
    /// is `false`, the server must refuse network boot to the machine instead.
    pub network_boot_switch: bool,
    /// A reboot or shutdown from inside the guest is reported, as [`EventKind::PoweredOff`] with
    /// [`PowerCause::Guest`]. Where it is `false`, a reboot is seen on the network and the console only.
    pub reports_guest_power: bool,
    /// The target can be reset without a power cycle.
    pub warm_reset: bool,
}

/// Something that happened to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetEvent {
    /// Console bytes, as they came; never empty. Several small reads may be joined.
    Console(Vec<u8>),
    /// The console ended, and why. After this no [`TargetEvent::Console`] comes until the next
    /// [`EventKind::ConsoleAttached`].
    ConsoleClosed(String),
    /// A fact for the event log: `ConsoleAttached`, `QemuStarted`, `PoweredOn`, `WasReset`, `QemuStderr`,
    /// `QmpNotified`, `QemuExited`, `InfraFailed`, `PoweredOff`.
    Kind(EventKind),
}

/// A machine that boots.
///
/// Methods return when the thing is done, and what they did is told as an event before they return. An error
/// they return is *not* also sent as an event: see [`TargetError::to_event`]. Faults that come on their own (QEMU
/// killed, the host's disk full) are sent as [`EventKind::InfraFailed`].
///
/// At the end of a power-on the order of events is: the last console bytes, `ConsoleClosed` (QEMU only, a board's
/// console stays), `QemuExited`, `InfraFailed` where it applies, `PoweredOff`. When `PoweredOff` is told, the
/// disk is closed and complete.
///
/// Dropping a target stops everything it started.
pub trait Target: Send {
    /// Name, driver, firmware and MAC address. Image and deadlines are left empty.
    fn facts(&self) -> TargetFacts;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Opens the console and begins to drain it. Idempotent, and done by [`Target::power_on`] where it was not
    /// done before.
    ///
    /// # Errors
    /// The console cannot be opened.
    fn attach_console(&mut self) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Gives power. Returns when the CPU runs (QEMU) or the power command ended (board).
    ///
    /// # Errors
    /// It is on already; QEMU or the power command could not be started or failed.
    fn power_on(&mut self, boot: BootSource) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Takes power away; `cause` goes into the event ([`PowerCause::Harness`] or [`PowerCause::Fault`]).
    /// Nothing happens, and nothing is told, where it is off already.
    ///
    /// # Errors
    /// The process does not end, or the power command failed.
    fn power_off(&mut self, cause: PowerCause) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Resets the machine; told as `WasReset` with [`PowerCause::Harness`].
    ///
    /// # Errors
    /// It is off, or the reset failed.
    fn reset(&mut self) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Types `bytes` on the console.
    ///
    /// # Errors
    /// The console is not attached or cannot take the bytes within five seconds.
    fn write_console<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), TargetError>>;

    /// Whether it has power, as far as the target knows.
    fn is_on(&self) -> bool;

    /// The file that is the machine's disk, where the host has it. Compare it only while the target is off.
    fn disk_path(&self) -> Option<&Path>;
}
