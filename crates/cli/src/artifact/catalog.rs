//! The catalog of an import: from what is written to what is meant, everything checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{bad_given_name, bad_image_name};
use bootgate_events::ArtifactRole;
use bootgate_scenario::HostFiles;
use bootgate_scenario::file::{self, Checks, FileError, Problem, Reader, Text};

/// What a catalog names.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) origin: Place,
    pub(super) sha256: Option<Sha256Hex>,
    pub(super) size: Option<u64>,
    pub(super) media_type: Option<String>,
    pub(super) role: Option<ArtifactRole>,
    pub(super) aliases: Vec<String>,
    /// Logical sector size, where it is an image to register.
    pub(super) image: Option<u32>,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Place {
    File(PathBuf),
    Url(String),
    Oci {
        reference: String,
        layer: Option<String>,
    },
}

/// Reads a catalog.
///
/// # Errors
/// It cannot be read, or anything in it is wrong: then none of it counts.
pub(super) fn load(path: &Path) -> Result<Vec<Entry>, FileError> {
    let text = file::read("catalog of artifacts", path)?;
    file::checked(&text, path, &HostFiles, |mut root, checks| {
        let span = root.span();
        let tables = root.tables("artifact", "artifact");
        root.finish();
        let Some(tables) = tables else {
            checks.missing(span, "`[[artifact]]`", "name one: [[artifact]]");
            return None;
        };
        let mut names = BTreeSet::new();
        let entries = tables.into_inner().into_iter();
        let entries: Vec<_> = entries
            .map(|table| entry(table, &mut names, checks))
            .collect();
        entries.into_iter().collect()
    })
}

fn wrong(text: &Text, message: String, hint: &str, checks: &Checks<'_>) {
    let problem = Problem::at(text.span(), message).label("this one");
    checks.fail(problem.hint(hint));
}

fn entry(
    mut table: Reader<'_, '_>,
    names: &mut BTreeSet<String>,
    checks: &Checks<'_>,
) -> Option<Entry> {
    let span = table.span();
    let name = table.text("name", "live/vmlinuz");
    let [path, url, oci] = [
        table.text("file", "vmlinuz"),
        table.text("url", "https://boot.example/vmlinuz"),
        table.text("oci", "oci://registry.example/live:7.1"),
    ];
    let layer = table.text("layer", "vmlinuz");
    let sha256 = table.text("sha256", "4f0c...");
    let size = table.number("size", "12582912");
    let media_type = table.text("media_type", "application/efi");
    let role = table.text("role", "kernel");
    let aliases = table.texts("alias", "a name, or a list of names");
    let kind = table.text("kind", "image");
    let sector_size = table.number("sector_size", "512");
    table.finish();

    let image = match kind.as_ref().map(|kind| kind.get_ref().as_str()) {
        Some("image") => true,
        None | Some("file") => false,
        Some(other) => {
            let kind = kind.as_ref()?;
            wrong(
                kind,
                format!("`{other}` is no kind"),
                "`file` or `image`",
                checks,
            );
            return None;
        }
    };
    let Some(name) = name else {
        checks.missing(span, "`name`", "add one: name = \"live/vmlinuz\"");
        return None;
    };
    let given = name.get_ref();
    let bad = match image {
        true => bad_image_name(given),
        false => bad_given_name(given),
    };
    if let Some(why) = bad {
        wrong(&name, format!("`{given}` cannot be a name"), why, checks);
        return None;
    }
    if !names.insert(given.clone()) {
        wrong(
            &name,
            format!("`{given}` is there twice"),
            "each name once",
            checks,
        );
        return None;
    }
    let sha256 = digest(sha256.as_ref(), checks)?;
    let origin = place(&name, [path, url, oci], layer, sha256.is_some(), checks)?;
    let sector_size = match sector_size.map_or(512, |size| *size.get_ref()) {
        size @ (512 | 4096) => u32::try_from(size).unwrap_or(512),
        size => {
            let message = format!("`sector_size` cannot be `{size}`");
            checks.fail(Problem::at(name.span(), message).hint("512 or 4096"));
            return None;
        }
    };
    Some(Entry {
        origin,
        sha256,
        size: size.map(|size| *size.get_ref()),
        media_type: media_type.map(|text| text.get_ref().clone()),
        role: role_of(role.as_ref(), checks)?,
        aliases: aliases_of(aliases.map(|list| list.into_inner()), image, checks)?,
        image: image.then_some(sector_size),
        name: given.clone(),
    })
}

/// `None` where it is wrong.
fn digest(text: Option<&Text>, checks: &Checks<'_>) -> Option<Option<Sha256Hex>> {
    let Some(text) = text else { return Some(None) };
    match text.get_ref().parse() {
        Ok(digest) => Some(Some(digest)),
        Err(_) => {
            let message = format!("`{}` is no digest", text.get_ref());
            wrong(
                text,
                message,
                "64 hexadecimal digits, as sha256sum prints them",
                checks,
            );
            None
        }
    }
}

fn place(
    name: &Text,
    [path, url, oci]: [Option<Text>; 3],
    layer: Option<Text>,
    known: bool,
    checks: &Checks<'_>,
) -> Option<Place> {
    if let (Some(layer), None) = (&layer, &oci) {
        let message = "`layer` without `oci`".to_owned();
        wrong(layer, message, "only a registry has layers", checks);
        return None;
    }
    match (path, url, oci) {
        (Some(path), None, None) => Some(Place::File(checks.path(&path))),
        (None, Some(url), None) if known => Some(Place::Url(url.get_ref().clone())),
        (None, Some(url), None) => {
            let message = "`url` without `sha256`".to_owned();
            let hint = "say which bytes are meant: sha256 = \"...\"";
            wrong(&url, message, hint, checks);
            None
        }
        (None, None, Some(oci)) => Some(Place::Oci {
            reference: oci.get_ref().clone(),
            layer: layer.map(|layer| layer.get_ref().clone()),
        }),
        (None, None, None) => {
            let hint = "file = \"PATH\", url = \"https://...\" or oci = \"oci://...\"";
            checks.missing(name.span(), "where its bytes are", hint);
            None
        }
        _ => {
            let message = format!("`{}` is in several places", name.get_ref());
            wrong(name, message, "one of `file`, `url` and `oci`", checks);
            None
        }
    }
}

fn role_of(text: Option<&Text>, checks: &Checks<'_>) -> Option<Option<ArtifactRole>> {
    let Some(text) = text else { return Some(None) };
    let role = match text.get_ref().as_str() {
        "nbp" => ArtifactRole::Nbp,
        "script" => ArtifactRole::Script,
        "kernel" => ArtifactRole::Kernel,
        "initrd" => ArtifactRole::Initrd,
        "other" => ArtifactRole::Other,
        other => {
            let hint = "`nbp`, `script`, `kernel`, `initrd` or `other`";
            wrong(text, format!("`{other}` is no role"), hint, checks);
            return None;
        }
    };
    Some(Some(role))
}

fn aliases_of(list: Option<Vec<Text>>, image: bool, checks: &Checks<'_>) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for alias in list.unwrap_or_default() {
        let given = alias.get_ref();
        let bad = match image {
            true => Some("an image has no aliases"),
            false => bad_given_name(given),
        };
        if let Some(why) = bad {
            wrong(&alias, format!("`{given}` cannot be an alias"), why, checks);
            return None;
        }
        all.push(given.clone());
    }
    Some(all)
}
