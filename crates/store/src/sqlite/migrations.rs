//! From any released schema to the present one.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;

/// One for each released schema, in order: the first makes schema 1 from nothing. A released one never changes.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/0001_state.sql"),
    include_str!("../../migrations/0002_lease_clients.sql"),
    include_str!("../../migrations/0003_artifacts.sql"),
];

/// The latest schema.
#[allow(clippy::cast_possible_truncation, reason = "there are few")]
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// As `PRAGMA application_id` of every state has it: "bgst".
const APPLICATION: i64 = 0x6267_7374;

/// What makes each schema from the one before, in SQL; the first from nothing.
#[must_use]
pub fn migrations() -> &'static [&'static str] {
    &MIGRATIONS
}

/// Refuses what is not a state, or is one of a newer version. An empty database is a state of schema 0.
pub(super) fn check(connection: &Connection) -> Result<u32, Fault> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = found == 0 && tables == 0;
    if !empty && application != APPLICATION {
        return Err(Fault::Other(
            "it is a database of another program".to_owned(),
        ));
    }
    if found > SCHEMA {
        return Err(Fault::Newer { found });
    }
    Ok(found)
}

/// Brings the database to the latest schema, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let found = check(connection)?;
    // A migration may have to make a table anew; whether references still lead somewhere is checked at its end.
    connection.pragma_update(None, "foreign_keys", false)?;
    for (schema, sql) in (1..).zip(MIGRATIONS).skip(found as usize) {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(sql)?;
        let broken = step.prepare("PRAGMA foreign_key_check")?.exists([])?;
        if broken {
            return Err(Fault::Other(format!(
                "migration to schema `{schema}` leaves references to nothing"
            )));
        }
        step.pragma_update(None, "user_version", schema)?;
        step.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}
