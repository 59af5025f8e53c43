//! Machines in SQLite.

use bootgate_api::{Machine, UnixMicros};
use bootgate_events::MacAddr;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::value::{from_number, to_mac};
use crate::{Discovered, Discovery, MachineChange, rules};

pub(super) fn find(db: &Connection, mac: &MacAddr) -> Result<Option<Machine>, Fault> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM machines WHERE mac = ?1")?
        .query_row([mac.0], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

pub(super) fn all(db: &Connection) -> Result<Vec<Machine>, Fault> {
    let mut statement = db.prepare_cached("SELECT body FROM machines ORDER BY mac")?;
    let mut rows = statement.query([])?;
    let mut machines = Vec::new();
    while let Some(row) = rows.next()? {
        machines.push(serde_json::from_str(
            row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        )?);
    }
    Ok(machines)
}

pub(super) fn discover(db: &Connection, discovery: &Discovery) -> Result<Discovered, Fault> {
    let known = find(db, &discovery.mac)?;
    if known.is_none() {
        let count: i64 = db
            .prepare_cached("SELECT count(*) FROM machines WHERE discovered = 1")?
            .query_row([], |row| row.get(0))?;
        if count >= from_number(discovery.limit) {
            return Ok(Discovered::Full);
        }
    }
    let machine = rules::seen(known.clone(), discovery);
    if known.as_ref() != Some(&machine) {
        put(db, &machine)?;
    }
    Ok(match known {
        None => Discovered::New(machine),
        Some(_) => Discovered::Known(machine),
    })
}

pub(super) fn change(
    db: &Connection,
    mac: &MacAddr,
    change: &MachineChange,
    at: UnixMicros,
) -> Result<Machine, Fault> {
    let machine = rules::changed(find(db, mac)?, *mac, change, at)?;
    if let Some(Some(name)) = &change.name
        && let Some(other) = named(db, name)?
        && other != *mac
    {
        return Err(rules::name_taken(name, &other).into());
    }
    put(db, &machine)?;
    Ok(machine)
}

fn named(db: &Connection, name: &str) -> Result<Option<MacAddr>, Fault> {
    let mac: Option<Vec<u8>> = db
        .prepare_cached("SELECT mac FROM machines WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    mac.map(|mac| to_mac(&mac)).transpose()
}

pub(super) fn forget(db: &Connection, mac: &MacAddr) -> Result<bool, Fault> {
    let mut statement = db.prepare_cached("DELETE FROM machines WHERE mac = ?1")?;
    Ok(statement.execute([mac.0])? > 0)
}

pub(super) fn put(db: &Connection, machine: &Machine) -> Result<(), Fault> {
    let sql = "INSERT INTO machines (mac, name, discovered, body) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (mac) DO UPDATE SET name = ?2, discovered = ?3, body = ?4";
    db.prepare_cached(sql)?.execute(params![
        machine.mac.0,
        machine.name,
        machine.discovered,
        serde_json::to_string(machine)?,
    ])?;
    Ok(())
}
