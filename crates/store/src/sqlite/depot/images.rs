//! Images in SQLite.

use bootgate_api::artifact::{ImageInfo, Needed};
use bootgate_api::{Machine, UnixMicros};
use rusqlite::{Connection, OptionalExtension, params};

use super::super::fault::Fault;
use super::super::machines;
use super::blobs;
use crate::NewImage;
use crate::rules::Refusal;

fn find(db: &Connection, name: &str) -> Result<Option<ImageInfo>, Fault> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM images WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

pub(super) fn all(db: &Connection) -> Result<Vec<ImageInfo>, Fault> {
    let mut statement = db.prepare_cached("SELECT body FROM images ORDER BY name")?;
    let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
    bodies
        .map(|body| Ok(serde_json::from_str(&body?)?))
        .collect()
}

pub(super) fn put(db: &Connection, new: &NewImage, at: UnixMicros) -> Result<ImageInfo, Fault> {
    let (name, order) = (&new.name, &new.order);
    let known = find(db, name)?;
    let blob = |sha256| {
        let missing = || Fault::Missing(format!("no blob sha256:{sha256} is here"));
        blobs::find(db, sha256)?.ok_or_else(missing)
    };
    blob(&order.index)?;
    let image = ImageInfo {
        name: name.clone(),
        written: new.written.clone(),
        sector_size: new.sector_size,
        index: Some(order.index),
        data: Some(order.data),
        stored: blob(&order.data)?.size,
        labels: order.labels.clone(),
        created: at,
    };
    if let Some(known) = known {
        let same = ImageInfo {
            created: known.created,
            labels: known.labels.clone(),
            ..image.clone()
        };
        if same == known {
            return Ok(known);
        }
        if !order.replace {
            let why = format!(
                "image `{name}` is another one: sha256:{}",
                known.written.image_sha256
            );
            return Err(Refusal(why).into());
        }
        for sha256 in known.index.iter().chain(&known.data) {
            blobs::touch(db, sha256, at)?;
        }
    }
    let sql = "INSERT INTO images (name, index_sha256, data_sha256, body) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name) DO UPDATE SET index_sha256 = ?2, data_sha256 = ?3, body = ?4";
    db.prepare_cached(sql)?.execute(params![
        name,
        order.index.0,
        order.data.0,
        serde_json::to_string(&image)?
    ])?;
    Ok(image)
}

pub(super) fn remove(db: &Connection, name: &str, at: UnixMicros) -> Result<bool, Fault> {
    let Some(known) = find(db, name)? else {
        return Ok(false);
    };
    let machines = machines::all(db)?;
    let needed: Vec<String> = machines
        .iter()
        .filter(|machine| flashes(machine, name))
        .map(|machine| match &machine.name {
            Some(name) => format!("machine `{}` ({name})", machine.mac),
            None => format!("machine `{}`", machine.mac),
        })
        .collect();
    if !needed.is_empty() {
        let why = format!("it is needed by {}", Needed(&needed));
        return Err(Refusal(why).into());
    }
    for sha256 in known.index.iter().chain(&known.data) {
        blobs::touch(db, sha256, at)?;
    }
    db.prepare_cached("DELETE FROM images WHERE name = ?1")?
        .execute([name])?;
    Ok(true)
}

/// Whether a machine is to be flashed with this image, now or after its inventory.
fn flashes(machine: &Machine, image: &str) -> bool {
    let boots = [Some(&machine.boot), machine.after_inventory.as_ref()];
    let mut orders = boots.into_iter().flatten().filter_map(|boot| boot.flash());
    orders.any(|order| order.image == image)
}
