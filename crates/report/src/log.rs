//! Reading an event log back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bootgate_events::{Event, SCHEMA};
use serde::Deserialize;

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened or read.
    #[error("read the event log `{path}`: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line is no event.
    #[error("read the event log `{path}`: line {line}: {error}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Why.
        error: String,
    },
}

/// Reads `events.jsonl`. A last line that was cut off, as a killed run leaves it, is left out.
///
/// # Errors
/// Where the file cannot be read, or a line before the last is no event or of a newer schema.
pub fn read_log(path: &Path) -> Result<Vec<Event>, LogError> {
    let io = |error| LogError::Io {
        path: path.to_owned(),
        error,
    };
    let mut reader = BufReader::new(std::fs::File::open(path).map_err(io)?);
    let mut events: Vec<Event> = Vec::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(io)? == 0 {
            return Ok(events);
        }
        let complete = text.last() == Some(&b'\n');
        let error = match (serde_json::from_slice::<Event>(&text), schema(&text)) {
            (_, Some(schema)) if schema > SCHEMA => {
                format!("schema `{schema}` is newer than `{SCHEMA}`, the newest this version reads")
            }
            (Ok(event), _) => {
                events.push(event);
                continue;
            }
            (Err(_), _) if !complete => return Ok(events),
            (Err(error), _) => error.to_string(),
        };
        return Err(LogError::Line {
            path: path.to_owned(),
            line: events.len() + 1,
            error,
        });
    }
}

/// The schema a line says it is of, also where this version cannot read the rest of it.
fn schema(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Envelope {
        schema: u32,
    }
    serde_json::from_slice::<Envelope>(line)
        .ok()
        .map(|envelope| envelope.schema)
}
