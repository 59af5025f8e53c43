//! Leases in SQLite.

use std::net::IpAddr;

use bootgate_api::{Lease, LeaseState, UnixMicros};
use bootgate_events::MacAddr;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::value::{from_ip, from_state, from_time, to_ip, to_mac, to_state, to_time};
use crate::{Granted, LeaseEnd, LeaseGrant, rules};

const COLUMNS: &str = "ip, mac, state, ends, changed, client, subnet";

/// A lease and the subnet it is of; none for an address that was in quarantine before it was ever leased.
struct Held {
    lease: Lease,
    subnet: String,
}

pub(super) fn grant(db: &Connection, grant: &LeaseGrant) -> Result<Granted, Fault> {
    let held = find(db, grant.ip)?;
    let outcome = rules::grant(held.as_ref().map(|held| &held.lease), grant);
    if outcome != Granted::Yes {
        return Ok(outcome);
    }
    if held.is_some_and(|held| is_renewal(&held, grant)) {
        db.prepare_cached("UPDATE leases SET ends = ?2, changed = ?3 WHERE ip = ?1")?
            .execute(params![
                from_ip(grant.ip),
                from_time(grant.ends),
                from_time(grant.at)
            ])?;
        return Ok(outcome);
    }
    for other in others(db, grant)? {
        put(db, &rules::moved(other, grant.at), &grant.subnet)?;
    }
    put(db, &rules::leased(grant), &grant.subnet)?;
    Ok(outcome)
}

/// Whether only the times change: then the machine has no other lease in the subnet, and no index changes. Most grants
/// are of this kind.
fn is_renewal(held: &Held, grant: &LeaseGrant) -> bool {
    held.lease.state == LeaseState::Leased
        && held.subnet == grant.subnet
        && held.lease.mac == grant.mac
        && held.lease.client == grant.client
}

/// What else the client of a grant has leased in the subnet.
fn others(db: &Connection, grant: &LeaseGrant) -> Result<Vec<Lease>, Fault> {
    let (sql, holder): (_, &dyn rusqlite::ToSql) = match &grant.client {
        None => ("mac = ?1 AND client IS NULL", &grant.mac.0),
        Some(client) => ("client = ?1", client),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM leases WHERE {sql} AND subnet = ?2 AND state = 0 AND ip <> ?3"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![holder, grant.subnet, from_ip(grant.ip)])?;
    let mut others = Vec::new();
    while let Some(row) = rows.next()? {
        others.push(held(row)?.lease);
    }
    Ok(others)
}

pub(super) fn end(db: &Connection, end: &LeaseEnd) -> Result<(), Fault> {
    let held = find(db, end.ip)?;
    let Some(lease) = rules::end(held.as_ref().map(|held| &held.lease), end) else {
        return Ok(());
    };
    put(
        db,
        &lease,
        &held.map_or_else(String::new, |held| held.subnet),
    )
}

pub(super) fn all(db: &Connection) -> Result<Vec<Lease>, Fault> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM leases ORDER BY ip"))?;
    let mut rows = statement.query([])?;
    let mut leases = Vec::new();
    while let Some(row) = rows.next()? {
        leases.push(held(row)?.lease);
    }
    Ok(leases)
}

pub(super) fn forget(db: &Connection, ip: IpAddr) -> Result<bool, Fault> {
    let mut statement = db.prepare_cached("DELETE FROM leases WHERE ip = ?1")?;
    Ok(statement.execute([from_ip(ip)])? > 0)
}

pub(super) fn prune(db: &Connection, before: UnixMicros) -> Result<u64, Fault> {
    let mut statement = db.prepare_cached("DELETE FROM leases WHERE ends < ?1")?;
    Ok(statement.execute([from_time(before)])? as u64)
}

fn find(db: &Connection, ip: IpAddr) -> Result<Option<Held>, Fault> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM leases WHERE ip = ?1"))?
        .query_row([from_ip(ip)], |row| Ok(held(row)))
        .optional()?
        .transpose()
}

fn put(db: &Connection, lease: &Lease, subnet: &str) -> Result<(), Fault> {
    let sql = "INSERT OR REPLACE INTO leases (ip, mac, state, ends, changed, client, subnet)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.prepare_cached(sql)?.execute(params![
        from_ip(lease.ip),
        lease.mac.0,
        from_state(lease.state),
        from_time(lease.ends),
        from_time(lease.changed),
        lease.client,
        subnet,
    ])?;
    Ok(())
}

fn held(row: &Row<'_>) -> Result<Held, Fault> {
    let ip = to_ip(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
    let mac: MacAddr = to_mac(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    Ok(Held {
        lease: Lease {
            ip,
            mac,
            state: to_state(row.get(2)?)?,
            ends: to_time(row.get(3)?),
            changed: to_time(row.get(4)?),
            client: row.get(5)?,
        },
        subnet: row.get(6)?,
    })
}
