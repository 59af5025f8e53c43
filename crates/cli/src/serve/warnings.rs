//! What the parts of the server say, each on a line, as far as the configuration wants to know.

use std::fmt::{self, Write as _};
use std::sync::{PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::config::LogLevels;
use super::log;

/// How much is said.
static LEVELS: RwLock<Option<LogLevels>> = RwLock::new(None);

/// Shows what is said in this process.
pub(super) struct Warnings;

impl Warnings {
    /// Takes over what is traced in this process from now on.
    pub(super) fn install(levels: &LogLevels) {
        set(levels);
        // Another one may be there already, in tests of this process: it then goes on.
        let _ = tracing::subscriber::set_global_default(Warnings);
    }
}

/// From now on so much is said.
pub(super) fn set(levels: &LogLevels) {
    let mut now = LEVELS.write().unwrap_or_else(PoisonError::into_inner);
    *now = Some(levels.clone());
}

fn wanted(metadata: &Metadata<'_>) -> bool {
    let levels = LEVELS.read().unwrap_or_else(PoisonError::into_inner);
    let target = metadata.target();
    target.starts_with("bootgate")
        && levels
            .as_ref()
            .is_some_and(|levels| levels.say(target, *metadata.level()))
}

impl Subscriber for Warnings {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The levels may be others tomorrow.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        wanted(metadata)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        log::said(*metadata.level(), metadata.target(), &text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
