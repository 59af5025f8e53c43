//! The life of a virtual machine.

use std::path::Path;
use std::sync::Arc;

use bootgate_events::{PowerCause, TargetFacts};

use super::QemuConfig;
use crate::{BootSource, BoxFuture, Capabilities, EventSender, Launcher, Target, TargetError};

/// A virtual machine.
pub struct Qemu {
    config: QemuConfig,
    _launcher: Arc<dyn Launcher>,
    _events: EventSender,
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
        Ok(Self {
            config,
            _launcher: launcher,
            _events: events,
        })
    }
}

impl Target for Qemu {
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
        self.config.disk.as_ref().map(|d| d.path.as_path())
    }
}
