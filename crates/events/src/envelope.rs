//! The envelope that every event travels in.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AttemptId, EventKind, RunId, TargetName};

/// The version of the envelope and of the event kinds. A reader keeps kinds it does not know as
/// [`EventBody::Unknown`] and skips them, so adding a kind does not raise it; changing the meaning of a field does.
pub const SCHEMA: u32 = 1;

/// One fact of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Position in the run's log, from 0, without gaps.
    pub seq: u64,
    /// Microseconds since the run started, on the monotonic clock.
    pub mono_us: u64,
    /// Microseconds since the Unix epoch, on the wall clock.
    pub wall_us: u64,
    /// The run this event belongs to.
    pub run: RunId,
    /// The boot attempt, where the event belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The target, where the event concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// What happened: `kind` and the fields of that kind, beside the fields above.
    #[serde(flatten)]
    pub body: EventBody,
}

/// A fact of a known kind, or one written by a newer version, kept as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// A kind this version knows.
    Known(EventKind),
    /// A kind this version does not know.
    Unknown(UnknownEvent),
}

/// An event whose kind this version does not know; written out again unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownEvent {
    /// The name of the kind.
    pub kind: String,
    /// Every other field of the body.
    pub fields: Map<String, Value>,
}

impl Event {
    /// The kind, or `None` where this version does not know it.
    #[must_use]
    pub fn kind(&self) -> Option<&EventKind> {
        match &self.body {
            EventBody::Known(kind) => Some(kind),
            EventBody::Unknown(_) => None,
        }
    }

    /// Milliseconds since the run started.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        self.mono_us / 1000
    }
}

impl From<EventKind> for EventBody {
    fn from(kind: EventKind) -> Self {
        EventBody::Known(kind)
    }
}

impl Serialize for EventBody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EventBody::Known(kind) => kind.serialize(serializer),
            EventBody::Unknown(unknown) => {
                let mut fields = unknown.fields.clone();
                fields.insert("kind".to_owned(), Value::String(unknown.kind.clone()));
                fields.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for EventBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let kind = match fields.get("kind") {
            Some(Value::String(kind)) => kind.clone(),
            _ => return Err(D::Error::missing_field("kind")),
        };
        if EventKind::NAMES.contains(&kind.as_str()) {
            let known = EventKind::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
            return Ok(EventBody::Known(known));
        }
        fields.remove("kind");
        Ok(EventBody::Unknown(UnknownEvent { kind, fields }))
    }
}
