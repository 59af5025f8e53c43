//! Names and aliases in SQLite.

use std::collections::BTreeMap;

use bootgate_api::artifact::{
    AliasOrder, ArtifactInfo, ArtifactWords, Needed, OCTET_STREAM, bad_given_name, digest_of_name,
    usual_kind,
};
use bootgate_api::{Sha256Hex, UnixMicros};
use bootgate_events::ArtifactRole;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::super::fault::Fault;
use super::super::value::{from_time, to_number, to_time};
use super::{blobs, to_digest};
use crate::ArtifactFilter;
use crate::rules::Refusal;

/// Aliases that may lead one to the next.
const CHAIN_MAX: usize = 16;

/// What an artifact is beside its bytes.
#[derive(Serialize, Deserialize)]
struct Body {
    role: ArtifactRole,
    media_type: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    created: UnixMicros,
}

fn refused<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Refusal(why.into()).into())
}

/// The names that people give.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    bad_given_name(name).map_or(Ok(()), refused)
}

/// An artifact that is no alias.
fn named(db: &Connection, name: &str) -> Result<Option<ArtifactInfo>, Fault> {
    let sql = "SELECT a.sha256, a.body, b.size FROM artifacts a JOIN blobs b USING (sha256) WHERE a.name = ?1";
    let row: Option<(Vec<u8>, String, i64)> = db
        .prepare_cached(sql)?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((sha256, body, size)) = row else {
        return Ok(None);
    };
    let body: Body = serde_json::from_str(&body)?;
    Ok(Some(ArtifactInfo {
        name: name.to_owned(),
        alias: None,
        sha256: to_digest(&sha256)?,
        size: to_number(size),
        role: body.role,
        media_type: body.media_type,
        labels: body.labels,
        created: body.created,
        needed_by: Vec::new(),
    }))
}

/// The target of an alias, and when it was made.
fn alias(db: &Connection, name: &str) -> Result<Option<(String, UnixMicros)>, Fault> {
    let row: Option<(String, i64)> = db
        .prepare_cached("SELECT target, created FROM aliases WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(target, created)| (target, to_time(created))))
}

/// What a name stands for, aliases followed.
pub(super) fn find(db: &Connection, name: &str) -> Result<Option<ArtifactInfo>, Fault> {
    if let Some(sha256) = digest_of_name(name) {
        return Ok(blobs::find(db, &sha256)?.map(|blob| ArtifactInfo {
            name: name.to_owned(),
            alias: None,
            sha256,
            size: blob.size,
            role: ArtifactRole::Other,
            media_type: OCTET_STREAM.to_owned(),
            labels: BTreeMap::new(),
            created: blob.created,
            needed_by: Vec::new(),
        }));
    }
    let Some((first, created)) = alias(db, name)? else {
        return named(db, name);
    };
    let mut target = first.clone();
    for _ in 0..CHAIN_MAX {
        match alias(db, &target)? {
            Some((next, _)) => target = next,
            None => {
                let found = named(db, &target)?;
                return Ok(found.map(|found| ArtifactInfo {
                    name: name.to_owned(),
                    alias: Some(first),
                    created,
                    ..found
                }));
            }
        }
    }
    Ok(None)
}

/// The same, with who needs it.
pub(super) fn show(db: &Connection, name: &str) -> Result<Option<ArtifactInfo>, Fault> {
    let Some(found) = find(db, name)? else {
        return Ok(None);
    };
    let needed_by = match digest_of_name(name) {
        Some(sha256) => blobs::needed_by(db, &sha256)?,
        None => needed_by(db, name)?,
    };
    Ok(Some(ArtifactInfo { needed_by, ..found }))
}

/// The aliases of a name.
fn needed_by(db: &Connection, name: &str) -> Result<Vec<String>, Fault> {
    let mut statement =
        db.prepare_cached("SELECT name FROM aliases WHERE target = ?1 ORDER BY name")?;
    let names = statement.query_map([name], |row| row.get::<_, String>(0))?;
    names.map(|name| Ok(format!("alias `{}`", name?))).collect()
}

pub(super) fn list(db: &Connection, filter: &ArtifactFilter) -> Result<Vec<ArtifactInfo>, Fault> {
    let sql = "SELECT name FROM
            (SELECT name FROM artifacts UNION ALL SELECT name FROM aliases)
        WHERE substr(name, 1, length(?1)) = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let after = filter.after.as_deref().unwrap_or_default();
    let mut statement = db.prepare_cached(sql)?;
    let names = statement.query_map(params![filter.prefix, after, limit], |row| {
        row.get::<_, String>(0)
    })?;
    let mut all = Vec::new();
    for name in names {
        all.extend(find(db, &name?)?);
    }
    Ok(all)
}

/// Whether a name may stand for a blob.
pub(super) fn check_free(
    db: &Connection,
    name: &str,
    sha256: Option<&Sha256Hex>,
    replace: bool,
) -> Result<(), Fault> {
    check_name(name)?;
    if let Some((target, _)) = alias(db, name)? {
        return refused(format!("`{name}` is an alias of `{target}`"));
    }
    match named(db, name)? {
        Some(known) if !replace && Some(&known.sha256) != sha256 => refused(format!(
            "`{name}` stands for sha256:{} already",
            known.sha256
        )),
        _ => Ok(()),
    }
}

pub(super) fn put(
    db: &Connection,
    name: &str,
    sha256: &Sha256Hex,
    replace: bool,
    words: &ArtifactWords,
    at: UnixMicros,
) -> Result<ArtifactInfo, Fault> {
    check_free(db, name, Some(sha256), replace)?;
    if blobs::find(db, sha256)?.is_none() {
        return Err(Fault::Missing(format!("no blob sha256:{sha256} is here")));
    }
    let known = named(db, name)?;
    let (role, media_type) = usual_kind(name);
    let same = known.as_ref().filter(|known| known.sha256 == *sha256);
    let body = Body {
        role: words.role.unwrap_or(role),
        media_type: words.media_type.clone().unwrap_or(media_type.to_owned()),
        labels: words.labels.clone(),
        created: same.map_or(at, |same| same.created),
    };
    if let Some(known) = &known
        && known.sha256 != *sha256
    {
        blobs::touch(db, &known.sha256, at)?;
    }
    let sql = "INSERT INTO artifacts (name, sha256, body) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET sha256 = ?2, body = ?3";
    db.prepare_cached(sql)?
        .execute(params![name, sha256.0, serde_json::to_string(&body)?])?;
    named(db, name)?.ok_or_else(|| Fault::Other("the name is gone".to_owned()))
}

pub(super) fn set_alias(
    db: &Connection,
    name: &str,
    order: &AliasOrder,
    at: UnixMicros,
) -> Result<ArtifactInfo, Fault> {
    check_name(name)?;
    check_name(&order.target)?;
    if named(db, name)?.is_some() {
        return refused(format!("`{name}` is an artifact"));
    }
    let known = alias(db, name)?;
    match &known {
        Some((target, _)) if *target == order.target => {}
        Some((target, _)) if !order.replace => {
            return refused(format!("`{name}` is an alias of `{target}` already"));
        }
        _ => {}
    }
    let mut target = order.target.clone();
    for step in 0.. {
        if target == name {
            return refused(format!("`{name}` would be an alias of itself"));
        }
        match alias(db, &target)? {
            Some(_) if step + 2 > CHAIN_MAX => {
                return refused(format!("more than {CHAIN_MAX} aliases lead to it"));
            }
            Some((next, _)) => target = next,
            None => break,
        }
    }
    if named(db, &target)?.is_none() {
        return Err(Fault::Missing(format!("no artifact `{target}` is here")));
    }
    let sql = "INSERT INTO aliases (name, target, created) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET target = ?2, created = ?3 WHERE target <> ?2";
    db.prepare_cached(sql)?
        .execute(params![name, order.target, from_time(at)])?;
    find(db, name)?.ok_or_else(|| Fault::Other("the alias leads nowhere".to_owned()))
}

pub(super) fn delete(db: &Connection, name: &str, at: UnixMicros) -> Result<bool, Fault> {
    let needed = needed_by(db, name)?;
    if !needed.is_empty() {
        return refused(format!("it is needed by {}", Needed(&needed)));
    }
    if let Some(known) = named(db, name)? {
        blobs::touch(db, &known.sha256, at)?;
    }
    let mut gone = 0;
    for sql in [
        "DELETE FROM artifacts WHERE name = ?1",
        "DELETE FROM aliases WHERE name = ?1",
    ] {
        gone += db.prepare_cached(sql)?.execute([name])?;
    }
    Ok(gone > 0)
}
