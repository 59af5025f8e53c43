//! Attempts in SQLite.

use std::net::IpAddr;

use bootgate_api::{Attempt, ExpectedFlash, Inventory, Machine, Nonce, UnixMicros};
use bootgate_events::{AttemptId, TargetVerdict};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::machines;
use super::value::{from_number, from_time};
use crate::rules::{self, AttemptRecord, FlashProgress, Refusal, attempt_id, attempt_row};
use crate::{AttemptFilter, BeginFlash, Completed, IssuedNonce, NewAttempt};

/// An attempt with its row.
struct Kept {
    row: i64,
    record: AttemptRecord,
}

pub(super) fn open(db: &Connection, new: &NewAttempt) -> Result<Attempt, Fault> {
    let open = db
        .prepare_cached("SELECT id FROM attempts WHERE mac = ?1 AND finished IS NULL")?
        .query_row([new.mac.0], |row| row.get(0))
        .optional()?;
    rules::may_open(open.map(id_of).as_ref())?;
    // The number is known only when there is a row.
    db.prepare_cached("INSERT INTO attempts (mac, flash, body) VALUES (?1, 0, '')")?
        .execute([new.mac.0])?;
    let row = db.last_insert_rowid();
    let record = rules::opened(id_of(row), new);
    let kept = Kept { row, record };
    put(db, &kept)?;
    Ok(kept.record.attempt)
}

fn id_of(row: i64) -> AttemptId {
    attempt_id(u64::try_from(row).unwrap_or(0))
}

pub(super) fn issue_nonce(
    db: &Connection,
    id: &AttemptId,
    nonce: &Nonce,
    peer: IpAddr,
) -> Result<IssuedNonce, Fault> {
    if by_nonce(db, nonce)?.is_some() {
        return Err(Refusal("the nonce was given out before".to_owned()).into());
    }
    let mut kept = by_id(db, id)?.ok_or_else(unknown)?;
    let issued = rules::issue(&mut kept.record, nonce, peer)?;
    put(db, &kept)?;
    Ok(issued)
}

fn unknown() -> Refusal {
    Refusal("there is no such attempt".to_owned())
}

/// The open attempt with this nonce.
pub(super) fn open_by_nonce(db: &Connection, nonce: &Nonce) -> Result<Option<Attempt>, Fault> {
    let found = by_nonce(db, nonce)?.map(|kept| kept.record.attempt);
    Ok(found.filter(|attempt| attempt.finished.is_none()))
}

pub(super) fn begin_flash(db: &Connection, nonce: &Nonce) -> Result<BeginFlash, Fault> {
    let Some(mut kept) = by_nonce(db, nonce)? else {
        return Ok(BeginFlash::Stale);
    };
    let mut machine = machine_of(db, &kept)?;
    let outcome = rules::begin(&mut kept.record, machine.as_mut());
    if outcome == BeginFlash::Begun {
        put_both(db, &kept, machine.as_ref())?;
    }
    Ok(outcome)
}

pub(super) fn complete_flash(
    db: &Connection,
    nonce: &Nonce,
    written: &ExpectedFlash,
    at: UnixMicros,
) -> Result<Completed, Fault> {
    let Some(mut kept) = by_nonce(db, nonce)? else {
        return Ok(Completed::Stale);
    };
    let mut machine = machine_of(db, &kept)?;
    let outcome = rules::complete(&mut kept.record, machine.as_mut(), written, at);
    if outcome == Completed::Yes {
        put_both(db, &kept, machine.as_ref())?;
    }
    Ok(outcome)
}

pub(super) fn record_inventory(
    db: &Connection,
    nonce: &Nonce,
    inventory: &Inventory,
) -> Result<(), Fault> {
    let attempt = open_by_nonce(db, nonce)?
        .ok_or_else(|| Refusal("the nonce is of no open attempt".to_owned()))?;
    let mut machine = machines::find(db, &attempt.mac)?
        .ok_or_else(|| Refusal(format!("machine `{}` was forgotten", attempt.mac)))?;
    rules::inventory(&mut machine, inventory);
    machines::put(db, &machine)
}

pub(super) fn finish(
    db: &Connection,
    id: &AttemptId,
    verdict: &TargetVerdict,
    at: UnixMicros,
) -> Result<Attempt, Fault> {
    let mut kept = by_id(db, id)?.ok_or_else(unknown)?;
    let mut machine = machine_of(db, &kept)?;
    if rules::finish(&mut kept.record, machine.as_mut(), verdict, at) {
        put_both(db, &kept, machine.as_ref())?;
    }
    Ok(kept.record.attempt)
}

pub(super) fn find(db: &Connection, id: &AttemptId) -> Result<Option<Attempt>, Fault> {
    Ok(by_id(db, id)?.map(|kept| kept.record.attempt))
}

pub(super) fn list(db: &Connection, filter: &AttemptFilter) -> Result<Vec<Attempt>, Fault> {
    let before = match &filter.before {
        None => i64::MAX,
        Some(id) => match attempt_row(id) {
            Some(row) => from_number(row),
            None => return Ok(Vec::new()),
        },
    };
    let of = filter.mac.map_or("", |_| "AND mac = ?2");
    let open = if filter.open {
        "AND finished IS NULL"
    } else {
        ""
    };
    let sql =
        format!("SELECT body FROM attempts WHERE id < ?1 {of} {open} ORDER BY id DESC LIMIT ?3");
    let mut statement = db.prepare_cached(&sql)?;
    let mac = filter.mac.map(|mac| mac.0);
    let mut rows = statement.query(params![before, mac, from_number(filter.limit as u64)])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(serde_json::from_str(
            row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        )?);
    }
    Ok(attempts)
}

/// Their events go with them.
pub(super) fn prune(db: &Connection, keep: u32) -> Result<u64, Fault> {
    let sql = "DELETE FROM attempts WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY mac ORDER BY id DESC) AS place
            FROM attempts WHERE finished IS NOT NULL)
        WHERE place > ?1)";
    Ok(db.prepare_cached(sql)?.execute([keep])? as u64)
}

fn machine_of(db: &Connection, kept: &Kept) -> Result<Option<Machine>, Fault> {
    machines::find(db, &kept.record.attempt.mac)
}

fn put_both(db: &Connection, kept: &Kept, machine: Option<&Machine>) -> Result<(), Fault> {
    put(db, kept)?;
    machine.map_or(Ok(()), |machine| machines::put(db, machine))
}

fn put(db: &Connection, kept: &Kept) -> Result<(), Fault> {
    let Kept { row, record } = kept;
    let sql = "UPDATE attempts SET nonce = ?2, flash = ?3, finished = ?4, body = ?5 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![
        row,
        record.nonce.as_ref().map(Nonce::as_str),
        from_flash(record.flash),
        record.attempt.finished.map(from_time),
        serde_json::to_string(&record.attempt)?,
    ])?;
    Ok(())
}

fn by_id(db: &Connection, id: &AttemptId) -> Result<Option<Kept>, Fault> {
    match attempt_row(id) {
        None => Ok(None),
        Some(row) => one(db, "id = ?1", &from_number(row)),
    }
}

fn by_nonce(db: &Connection, nonce: &Nonce) -> Result<Option<Kept>, Fault> {
    one(db, "nonce = ?1", &nonce.as_str())
}

fn one(db: &Connection, which: &str, value: &dyn rusqlite::ToSql) -> Result<Option<Kept>, Fault> {
    db.prepare_cached(&format!(
        "SELECT id, nonce, flash, body FROM attempts WHERE {which}"
    ))?
    .query_row([value], |row| Ok(kept(row)))
    .optional()?
    .transpose()
}

fn kept(row: &Row<'_>) -> Result<Kept, Fault> {
    let nonce: Option<String> = row.get(1)?;
    let nonce = nonce.map(|text| text.parse()).transpose();
    Ok(Kept {
        row: row.get(0)?,
        record: AttemptRecord {
            nonce: nonce.map_err(|error| Fault::Other(format!("an attempt in it: {error}")))?,
            flash: to_flash(row.get(2)?)?,
            attempt: serde_json::from_str(
                row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?,
            )?,
        },
    })
}

fn from_flash(flash: FlashProgress) -> i64 {
    match flash {
        FlashProgress::NotBegun => 0,
        FlashProgress::Begun => 1,
        FlashProgress::Completed => 2,
    }
}

fn to_flash(flash: i64) -> Result<FlashProgress, Fault> {
    match flash {
        0 => Ok(FlashProgress::NotBegun),
        1 => Ok(FlashProgress::Begun),
        2 => Ok(FlashProgress::Completed),
        _ => Err(Fault::Other(format!("a flash in it has state `{flash}`"))),
    }
}
