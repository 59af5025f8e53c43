//! Reading an event log back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bootgate_events::{Event, SCHEMA};

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
    let mut events = Vec::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(io)? == 0 {
            return Ok(events);
        }
        let complete = text.last() == Some(&b'\n');
        match serde_json::from_slice::<Event>(&text) {
            Ok(event) if event.schema > SCHEMA => {
                let error = format!(
                    "schema `{}` is newer than `{SCHEMA}`, which this version reads",
                    event.schema
                );
                return Err(LogError::Line {
                    path: path.to_owned(),
                    line: events.len() + 1,
                    error,
                });
            }
            Ok(event) => events.push(event),
            Err(_) if !complete => return Ok(events),
            Err(error) => {
                let line = events.len() + 1;
                return Err(LogError::Line {
                    path: path.to_owned(),
                    line,
                    error: error.to_string(),
                });
            }
        }
    }
}
