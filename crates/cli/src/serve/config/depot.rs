//! What operators may upload.

use std::time::Duration;

use bootgate_scenario::file::{Checks, Problem, Reader, Text, shorten};
use bootgate_store::UploadLimits;

/// Longest time that an upload may wait: a year.
const IDLE_MS: u64 = 365 * 86_400_000;

/// What stands in `[artifacts]`.
#[derive(Default)]
pub(super) struct ArtifactsWire {
    upload: Option<Text>,
    total: Option<Text>,
    keep_free: Option<Text>,
    idle: Option<Text>,
}

impl ArtifactsWire {
    pub(super) fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            upload: table.text("upload", "64GiB"),
            total: table.text("total", "500GiB"),
            keep_free: table.text("keep_free", "256MiB"),
            idle: table.text("idle", "24h"),
        };
        table.finish();
        wire
    }
}

/// What uploads may take.
pub(super) fn uploads(wire: &ArtifactsWire, checks: &Checks<'_>) -> UploadLimits {
    let mut limits = UploadLimits::default();
    for (key, written, limit) in [
        ("upload", &wire.upload, &mut limits.size),
        ("total", &wire.total, &mut limits.total),
        ("keep_free", &wire.keep_free, &mut limits.keep_free),
    ] {
        let Some(text) = written else { continue };
        match checks.size(key, text) {
            Some(0) if key != "keep_free" => {
                let message = format!("`{key}` is `{}`: nothing fits", shorten(text.get_ref()));
                let problem = Problem::at(text.span(), message).label("must be larger");
                checks.fail(problem.hint("give a size, like \"64GiB\""));
            }
            Some(size) => *limit = size,
            None => {}
        }
    }
    if let Some(text) = &wire.idle
        && let Some(ms) = checks.duration_within("idle", text, IDLE_MS)
    {
        limits.idle = Duration::from_millis(ms);
    }
    limits
}
