//! A target's power, and the end of the program that is a virtual one.

use bootgate_events::{Cause, PowerCause, Stage};

use super::disk::Proof;
use super::screen::Ending;
use super::target::{Draw, TargetFold};

impl TargetFold {
    pub(super) fn powered_on(&mut self, draw: &mut Draw<'_>, boot: &str) {
        self.begin(draw, "power");
        self.alive(draw);
        self.powered = true;
        self.cleaner.finish();
        if boot != "disk" {
            self.enter(draw, Stage::Firmware, "powered on");
        } else if self.proof == Proof::Booting {
            self.proof = Proof::Booted;
            self.enter(draw, Stage::DiskBoot, "powered on, network boot off");
            self.pass_if_complete(draw);
        } else {
            self.notes.remark(
                draw.event.seq,
                "powered on from a disk that is not proven: not counted",
            );
        }
    }

    pub(super) fn powered_off(&mut self, draw: &mut Draw<'_>, cause: PowerCause) {
        let was_on = std::mem::replace(&mut self.powered, false);
        let Some(stage) = self.stage() else { return };
        let by = match cause {
            PowerCause::Fault => {
                return self.fail(
                    draw,
                    stage,
                    Cause::PoweredOff {
                        by: "fault".to_owned(),
                    },
                );
            }
            PowerCause::Outside => "outside",
            PowerCause::Guest => "guest",
            PowerCause::Harness => "harness",
        };
        match self.proof {
            Proof::Flashed if cause != PowerCause::Outside => self.ask_proof(draw),
            Proof::Asked | Proof::Given | Proof::Booting
                if !was_on || cause == PowerCause::Guest => {}
            _ if cause == PowerCause::Harness => {}
            _ => self.end_with(draw, stage, Cause::PoweredOff { by: by.to_owned() }),
        }
        self.settle_if_silent(draw);
    }

    pub(super) fn was_reset(&mut self, draw: &mut Draw<'_>, cause: PowerCause) {
        self.alive(draw);
        self.cleaner.finish();
        // Firmware restarts itself on healthy machines; after the flash the agent restarts the machine.
        let Some(stage) = self.stage().filter(|stage| *stage > Stage::Firmware) else {
            return;
        };
        let rebooting = (Proof::Flashed..=Proof::Booting).contains(&self.proof);
        if cause == PowerCause::Harness || (cause == PowerCause::Guest && rebooting) {
            return;
        }
        self.end_with(draw, stage, Cause::UnexpectedReset);
        if !self.console_seen {
            self.settle(draw);
        }
    }

    /// QEMU ended.
    pub(super) fn qemu_exited(
        &mut self,
        draw: &mut Draw<'_>,
        code: Option<i32>,
        signal: Option<i32>,
        expected: bool,
    ) {
        if expected {
            return;
        }
        let stderr = self.notes.stderr();
        // QEMU answers SIGTERM, SIGINT and SIGHUP by ending with status 0 and this line.
        let told = stderr.contains("terminating on signal");
        let outside = self.ending.as_ref().is_some_and(Ending::outside);
        let by_itself = !self.powered && !outside;
        let (what, happened) = match (code, signal) {
            (_, Some(signal)) => ("qemu-killed", format!("QEMU was killed by signal {signal}")),
            (Some(0) | None, None) if told => ("qemu-killed", "QEMU was told to end".to_owned()),
            (Some(0), None) if by_itself => return,
            (Some(0) | None, None) => ("qemu-killed", "QEMU ended before its guest".to_owned()),
            (Some(code), None) => ("qemu-failed", format!("QEMU ended with status {code}")),
        };
        let said = if stderr.is_empty() {
            String::new()
        } else {
            format!(": {stderr}")
        };
        self.infra(draw, what, &format!("{happened}{said}"));
    }
}
