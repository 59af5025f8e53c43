//! Events in SQLite.

use bootgate_events::{AttemptId, Event};
use rusqlite::{Connection, params};

use super::fault::Fault;
use super::value::from_number;
use crate::rules::attempt_row;

pub(super) fn append(db: &Connection, events: &[Event]) -> Result<(), Fault> {
    let sql = "INSERT INTO events (attempt, seq, body)
        SELECT id, ?2, ?3 FROM attempts WHERE id = ?1
        ON CONFLICT DO NOTHING";
    let mut statement = db.prepare_cached(sql)?;
    for event in events {
        let Some(row) = attempt_row(&AttemptId::new(event.run.as_str())) else {
            continue;
        };
        statement.execute(params![
            from_number(row),
            from_number(event.seq),
            serde_json::to_string(event)?
        ])?;
    }
    Ok(())
}

pub(super) fn list(
    db: &Connection,
    attempt: &AttemptId,
    from: u64,
    limit: usize,
) -> Result<Vec<Event>, Fault> {
    let Some(row) = attempt_row(attempt) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT body FROM events WHERE attempt = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let limit = from_number(limit as u64);
    let mut rows = statement.query(params![from_number(row), from_number(from), limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(serde_json::from_str(
            row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        )?);
    }
    Ok(events)
}
