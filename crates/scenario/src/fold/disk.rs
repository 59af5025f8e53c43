//! From a finished flash to the proof that the disk holds the image.

use bootgate_events::{ByteRange, Cause, DiskProofKind, EventKind, Stage, Verdict};

use super::Action;
use super::screen::Ending;
use super::target::{Draw, TargetFold};

/// How far the proof of the disk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// The agent has not finished.
    Wanted,
    /// The agent has; the target must switch off.
    Flashed,
    /// The harness was asked to compare.
    Asked,
    /// The disk equals the image.
    Given,
    /// The harness was asked to boot the disk.
    Booting,
    /// It did.
    Booted,
}

/// What is known of the disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) sha256: String,
    pub(super) proof: DiskProofKind,
    pub(super) ranges: Vec<ByteRange>,
}

impl TargetFold {
    /// The agent wrote the image and read it back.
    pub(super) fn agent_flashed(&mut self, draw: &mut Draw<'_>) {
        if self.proof != Proof::Wanted || self.rules.disk_proof.is_none() {
            return;
        }
        if self.stage().is_none_or(|stage| stage < Stage::Flash) {
            let text = "the agent reported a finished flash before any flash began: not counted";
            return self.notes.remark(draw.event.seq, text);
        }
        self.proof = Proof::Flashed;
        self.enter(draw, Stage::Verify, "the agent read back what it wrote");
        // Switching off has the stage's time again.
        self.stage_us = draw.event.mono_us;
        let went_off = self
            .ending
            .take_if(|ending| ending.power() && !ending.outside())
            .is_some();
        if went_off || self.rules.disk_proof == Some(DiskProofKind::Agent) {
            self.ask_proof(draw);
        }
    }

    pub(super) fn ask_proof(&mut self, draw: &mut Draw<'_>) {
        if self.judged.is_none() {
            self.proof = Proof::Asked;
            draw.step.actions.push(Action::ProveDisk {
                target: self.name().clone(),
            });
        }
    }

    pub(super) fn disk_compared(&mut self, draw: &mut Draw<'_>, kind: &EventKind) {
        let EventKind::DiskCompared {
            proof,
            equal,
            first_difference,
            ranges,
            image_sha256,
            disk_sha256,
        } = kind
        else {
            return;
        };
        if self.proof != Proof::Asked || self.rules.disk_proof != Some(*proof) {
            return self.notes.remark(
                draw.event.seq,
                "a disk comparison that was not asked for: not counted",
            );
        }
        self.image_sha256
            .get_or_insert_with(|| image_sha256.clone());
        self.disk = Some(Disk {
            sha256: disk_sha256.clone(),
            proof: *proof,
            ranges: ranges.clone(),
        });
        if !equal || image_sha256 != disk_sha256 {
            let first_difference = first_difference.unwrap_or(0);
            return self.fail(draw, Stage::Verify, Cause::DiskDiffers { first_difference });
        }
        if ranges.iter().all(|range| range.start >= range.end) {
            return self.infra(
                draw,
                "disk-unproven",
                "the disk was compared over no bytes at all",
            );
        }
        self.proof = Proof::Given;
        if self.rules.disk_boot {
            self.proof = Proof::Booting;
            draw.step.actions.push(Action::BootDisk {
                target: self.name().clone(),
            });
        } else if let (Some(due), DiskProofKind::Host) = (self.matcher.due(), proof) {
            // The target is off: nothing more can come.
            let cause = Cause::MarkerMissing {
                name: due.to_owned(),
            };
            self.fail(draw, Stage::Verify, cause);
        }
        self.pass_if_complete(draw);
    }

    pub(super) fn pass_if_complete(&mut self, draw: &mut Draw<'_>) {
        let disk = match (self.rules.disk_proof, self.rules.disk_boot) {
            (None, _) => true,
            (Some(_), false) => self.proof >= Proof::Given,
            (Some(_), true) => self.proof == Proof::Booted,
        };
        let forbidden = self.ending.as_ref().is_some_and(Ending::forbidden);
        if disk
            && self.goal_reached
            && self.matcher.due().is_none()
            && self.judged.is_none()
            && !forbidden
        {
            self.enter(draw, Stage::Done, "every requirement is met");
            self.judge(draw, Verdict::Passed);
        }
    }
}
