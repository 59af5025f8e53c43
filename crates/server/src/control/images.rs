//! Images that were uploaded, and those of the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bootgate_api::ExpectedFlash;
use bootgate_api::artifact::{ImageInfo, ImageOrder, bad_image_name, name_of_digest};
use bootgate_api::control::Forgotten;
use bootgate_store::{NewImage, StoreError};

use super::problem::{Body, Refusal};
use super::{Control, blocking};
use crate::depot::IndexHead;
use crate::lab::now;

impl Control {
    /// All images, by name. One of the configuration hides one of the same name.
    fn images(&self) -> Result<Vec<ImageInfo>, Refusal> {
        let mut all = self.depot()?.images()?;
        let configured = self.lab.as_ref().map(|lab| lab.configured_images());
        for (name, (written, sector_size)) in configured.unwrap_or_default() {
            all.retain(|image| image.name != name);
            all.push(ImageInfo {
                name,
                written,
                sector_size,
                index: None,
                data: None,
                stored: 0,
                labels: std::collections::BTreeMap::new(),
                created: bootgate_api::UnixMicros(0),
            });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn check_not_configured(&self, name: &str) -> Result<(), Refusal> {
        let configured = self.lab.as_ref().map(|lab| lab.configured_images());
        match configured.is_some_and(|images| images.contains_key(name)) {
            true => Err(Refusal::new(
                StatusCode::CONFLICT,
                format!("image `{name}` is in the server's configuration"),
                "change it there",
            )),
            false => Ok(()),
        }
    }

    /// What the index of an image says of it.
    fn head(&self, name: &str, order: &ImageOrder) -> Result<IndexHead, Refusal> {
        let depot = self.depot()?;
        for sha256 in [&order.index, &order.data] {
            let blob = name_of_digest(sha256);
            if depot.artifact(&blob)?.is_none() {
                let error = format!("add image `{name}`: no blob {blob} is here");
                return Err(Refusal::not_found(error, "upload it first"));
            }
        }
        let bad = |why: String| {
            Refusal::bad(
                format!("add image `{name}`: its index: {why}"),
                "`bootgate image add NAME FILE` makes one",
            )
        };
        let head = IndexHead::read(&depot.blob_path(&order.index)).map_err(bad)?;
        match head.sector_size {
            512 | 4096 if head.size > 0 && head.size.is_multiple_of(head.sector_size.into()) => {
                Ok(head)
            }
            _ => Err(bad(format!(
                "{} bytes in sectors of {}",
                head.size, head.sector_size
            ))),
        }
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<ImageInfo>>, Refusal> {
    blocking(control, |control| control.images().map(Json)).await
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<ImageInfo>, Refusal> {
    blocking(control, move |control| {
        let mut images = control.images()?;
        let found = images.iter().position(|image| image.name == name);
        match found {
            Some(at) => Ok(Json(images.swap_remove(at))),
            None => Err(Refusal::not_found(
                format!("no image `{name}` is here"),
                "`bootgate image list` shows what there is",
            )),
        }
    })
    .await
}

pub(super) async fn add(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Body(order): Body<ImageOrder>,
) -> Result<Json<ImageInfo>, Refusal> {
    blocking(control, move |control| {
        if let Some(why) = bad_image_name(&name) {
            return Err(Refusal::bad(format!("image name `{name}`: {why}"), ""));
        }
        control.check_not_configured(&name)?;
        let head = control.head(&name, &order)?;
        let image = NewImage {
            name,
            order,
            written: ExpectedFlash {
                image_sha256: head.image_sha256,
                chunks_sha256: head.chunks_sha256,
                size: head.size,
            },
            sector_size: head.sector_size,
        };
        let added = control.depot()?.put_image(&image, now());
        let added = added.map_err(|error| match error {
            refused @ StoreError::Refused { .. } => {
                Refusal::from(refused).hint("`--replace` lets the name stand for the new image")
            }
            error => error.into(),
        })?;
        control.refresh()?;
        Ok(Json(added))
    })
    .await
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        control.check_not_configured(&name)?;
        let known = control.depot()?.remove_image(&name, now());
        let known = known.map_err(|error| {
            let refused = matches!(error, StoreError::Refused { .. });
            match refused {
                true => Refusal::from(error)
                    .hint("give these machines another order first: `bootgate machine set`"),
                false => error.into(),
            }
        })?;
        control.refresh()?;
        Ok(Json(Forgotten { known }))
    })
    .await
}
