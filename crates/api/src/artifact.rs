//! Artifacts and images, as operators see and order them.
//!
//! An artifact is a name for a blob: bytes that are known by their SHA-256 digest. Many names may stand for one blob, and
//! an alias stands for another name. A blob comes by an upload, a session that goes on where it broke off.

use std::collections::BTreeMap;
use std::fmt;

use bootgate_events::ArtifactRole;
use serde::{Deserialize, Serialize};

use crate::{ExpectedFlash, Sha256Hex, UnixMicros};

/// What stands before the digest where a blob is named by it: `sha256:HEX`.
pub const DIGEST_PREFIX: &str = "sha256:";

/// Longest name of an artifact, in bytes.
pub const ARTIFACT_NAME_MAX: usize = 255;

/// Media type of what nobody said one of.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// Why a text cannot name an artifact; `None` where it can. Names stand in URLs and TFTP requests: parts are separated by
/// `/`; none is empty, `.` or `..`; only printable ASCII without space, `\`, `?`, `#` and `%`.
#[must_use]
pub fn bad_artifact_name(text: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'?' | b'#' | b'%');
    if text.len() > ARTIFACT_NAME_MAX {
        return Some("a name has 255 bytes at most");
    }
    if !text.bytes().all(plain) {
        return Some("a name is printable ASCII without space, `\\`, `?`, `#` and `%`");
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("the parts of a name between `/` are not empty, `.` or `..`");
    }
    None
}

/// The same for a name that people give: names that begin with `sha256:` are those of the blobs themselves.
#[must_use]
pub fn bad_given_name(text: &str) -> Option<&'static str> {
    if text.starts_with(DIGEST_PREFIX) {
        return Some("names that begin with `sha256:` are digests");
    }
    bad_artifact_name(text)
}

/// Longest name of an image, in bytes.
pub const IMAGE_NAME_MAX: usize = 64;

/// Why a text cannot name an image; `None` where it can. The same holds in the server's configuration.
#[must_use]
pub fn bad_image_name(text: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let first = text.bytes().next();
    let fine = text.len() <= IMAGE_NAME_MAX
        && text.bytes().all(plain)
        && first.is_some_and(|b| b.is_ascii_alphanumeric());
    match fine {
        true => None,
        false => Some(
            "a name has 1 to 64 letters, digits, `-`, `_` and `.`, the first one a letter or digit",
        ),
    }
}

/// The role and the media type that a name asks for, where nobody says otherwise.
#[must_use]
pub fn usual_kind(name: &str) -> (ArtifactRole, &'static str) {
    let file = name
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| file.ends_with(ending));
    let begins = |beginnings: &[&str]| beginnings.iter().any(|start| file.starts_with(start));
    let role = if ends(&[".efi", ".kpxe", ".pxe", ".kkpxe", ".kkkpxe", ".signed"])
        || file == "pxelinux.0"
    {
        ArtifactRole::Nbp
    } else if begins(&["vmlinu", "linux", "bzimage", "image", "zimage"]) {
        ArtifactRole::Kernel
    } else if begins(&["initrd", "initramfs"]) {
        ArtifactRole::Initrd
    } else if ends(&[".ipxe", "grub.cfg", "extlinux.conf"]) {
        ArtifactRole::Script
    } else {
        ArtifactRole::Other
    };
    let media_type = match role {
        // UEFI HTTP Boot knows a program by it (UEFI 2.10, 24.7.3.2).
        ArtifactRole::Nbp if file.ends_with(".efi") => "application/efi",
        ArtifactRole::Script => "text/plain",
        _ => OCTET_STREAM,
    };
    (role, media_type)
}

/// The text as a digest, with `sha256:` before it.
#[must_use]
pub fn digest_of_name(name: &str) -> Option<Sha256Hex> {
    name.strip_prefix(DIGEST_PREFIX)?.parse().ok()
}

/// The name of a blob.
#[must_use]
pub fn name_of_digest(digest: &Sha256Hex) -> String {
    format!("{DIGEST_PREFIX}{digest}")
}

/// Bytes that are known by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Blob {
    /// Their digest.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sha256: Sha256Hex,
    /// How many, in bytes.
    pub size: u64,
    /// When they came.
    pub created: UnixMicros,
    /// When they came again, or when the last name that stood for them went.
    pub changed: UnixMicros,
}

/// A named blob, or an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArtifactInfo {
    /// The name: what stands after `/artifacts/` in a URL, and the whole name over TFTP.
    pub name: String,
    /// The name that this one stands for, where it is an alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The blob's digest.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sha256: Sha256Hex,
    /// Its size in bytes.
    pub size: u64,
    /// What it is for.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub role: ArtifactRole,
    /// Its media type over HTTP.
    pub media_type: String,
    /// Free words; `source` says where an import came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the name was given, or given anew.
    pub created: UnixMicros,
    /// Who needs it: aliases and images. Only where one artifact is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
}

/// What an artifact is beside its bytes; what is not said follows from the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ArtifactWords {
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub role: Option<ArtifactRole>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The body of `POST` [`paths::UPLOADS`]: begins an upload. Where a digest is given, and an upload of the same name, digest
/// and size is there that did not end, it is that one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UploadOrder {
    /// The name that it shall have; `None`: only the blob is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the name may stand for another blob now.
    #[serde(default)]
    pub replace: bool,
    /// The digest of all bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sha256: Option<Sha256Hex>,
    /// How many bytes will come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What it is beside its bytes.
    #[serde(default)]
    pub words: ArtifactWords,
}

/// An upload: `GET` [`paths::upload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UploadInfo {
    /// Names it in requests.
    pub id: String,
    /// What was ordered.
    pub order: UploadOrder,
    /// Bytes that are durable: where the next part must begin.
    pub offset: u64,
    /// When it began.
    pub started: UnixMicros,
    /// When something came last; from then on it waits for so long, and is forgotten.
    pub changed: UnixMicros,
    /// The blob that it became, where it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished: Option<Sha256Hex>,
}

/// The body of `POST` [`paths::finish`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UploadEnd {
    /// The digest of all bytes, where it was not known when the upload began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sha256: Option<Sha256Hex>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Uploaded {
    /// The blob.
    pub blob: Blob,
    /// The artifact, where a name was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactInfo>,
}

/// The body of `PUT` [`paths::artifact`]: a name for a blob that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NameOrder {
    /// The blob.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub sha256: Sha256Hex,
    /// Whether the name may stand for another blob now.
    #[serde(default)]
    pub replace: bool,
    /// What it is beside its bytes.
    #[serde(default)]
    pub words: ArtifactWords,
}

/// The body of `PUT` [`paths::alias`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AliasOrder {
    /// The name that the alias stands for: an artifact's, or another alias.
    pub target: String,
    /// Whether an alias of this name may be changed.
    #[serde(default)]
    pub replace: bool,
}

/// The body of `POST` [`paths::COLLECT`]: removes blobs that nothing stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CollectOrder {
    /// Only says what would be removed.
    #[serde(default)]
    pub dry_run: bool,
    /// Seconds that a blob stays though nothing stands for it.
    #[serde(default = "usual_grace")]
    pub grace: u64,
}

/// A day: a boot that began with an image that was replaced since still gets its bytes.
#[must_use]
pub fn usual_grace() -> u64 {
    86_400
}

impl Default for CollectOrder {
    fn default() -> Self {
        Self {
            dry_run: false,
            grace: usual_grace(),
        }
    }
}

/// The answer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Collected {
    /// Whether they are still there.
    pub dry_run: bool,
    /// The blobs.
    pub blobs: Vec<Blob>,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// The body of `PUT` [`paths::image`]: an image of two blobs that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageOrder {
    /// The chunk index.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub index: Sha256Hex,
    /// The compressed chunks.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub data: Sha256Hex,
    /// Whether an image of this name may be another one now.
    #[serde(default)]
    pub replace: bool,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An image that machines can be flashed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageInfo {
    /// Its name.
    pub name: String,
    /// What a disk holds that was flashed with it.
    pub written: ExpectedFlash,
    /// Logical sector size that its partition table was written for, in bytes.
    pub sector_size: u32,
    /// The chunk index; `None` where the image is in the server's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub index: Option<Sha256Hex>,
    /// The compressed chunks; `None` where the image is in the server's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub data: Option<Sha256Hex>,
    /// Bytes of the compressed chunks; 0 where the image is in the server's configuration.
    #[serde(default)]
    pub stored: u64,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was added; 0 where the image is in the server's configuration.
    #[serde(default)]
    pub created: UnixMicros,
}

/// Who needs an image, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed<'a>(pub &'a [String]);

impl fmt::Display for Needed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let more = self.0.len().saturating_sub(SHOWN);
        let shown = self.0.get(..self.0.len() - more).unwrap_or_default();
        f.write_str(&shown.join(", "))?;
        match more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Paths of artifacts and images on the control interface.
pub mod paths {
    pub use crate::control::paths::escaped;

    /// `GET` with `?prefix=&after=&limit=`: [`ArtifactInfo`](super::ArtifactInfo)s by name, aliases among them.
    pub const ARTIFACTS: &str = "/api/v1/artifacts";
    /// `PUT` below it: [`alias`].
    pub const ALIASES: &str = "/api/v1/aliases";
    /// `POST` [`UploadOrder`](super::UploadOrder): an [`UploadInfo`](super::UploadInfo). `GET`: all of them.
    pub const UPLOADS: &str = "/api/v1/uploads";
    /// `POST` [`CollectOrder`](super::CollectOrder): [`Collected`](super::Collected).
    pub const COLLECT: &str = "/api/v1/collect";
    /// `GET`: [`ImageInfo`](super::ImageInfo)s by name.
    pub const IMAGES: &str = "/api/v1/images";

    /// Header of answers that say where the next part of an upload must begin, in bytes.
    pub const UPLOAD_OFFSET: &str = "upload-offset";

    /// `GET`, `PUT` [`NameOrder`](super::NameOrder) or `DELETE`; the name may be `sha256:HEX`, but for `PUT`.
    #[must_use]
    pub fn artifact(name: &str) -> String {
        format!("{ARTIFACTS}/{}", escaped(name))
    }

    /// `GET`: its bytes.
    #[must_use]
    pub fn content(name: &str) -> String {
        format!("{}/content", artifact(name))
    }

    /// `PUT` [`AliasOrder`](super::AliasOrder).
    #[must_use]
    pub fn alias(name: &str) -> String {
        format!("{ALIASES}/{}", escaped(name))
    }

    /// `GET` an [`UploadInfo`](super::UploadInfo), `DELETE`, or `PATCH` with `?offset=`: bytes from there on.
    #[must_use]
    pub fn upload(id: &str) -> String {
        format!("{UPLOADS}/{}", escaped(id))
    }

    /// `POST` [`UploadEnd`](super::UploadEnd): [`Uploaded`](super::Uploaded).
    #[must_use]
    pub fn finish(id: &str) -> String {
        format!("{}/finish", upload(id))
    }

    /// `GET` an [`ImageInfo`](super::ImageInfo), `PUT` [`ImageOrder`](super::ImageOrder), or `DELETE`.
    #[must_use]
    pub fn image(name: &str) -> String {
        format!("{IMAGES}/{}", escaped(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_of_what_is_given_out() {
        for good in ["a", "boot/ipxe.efi", "a..b", "x/sha256:y", "~"] {
            assert_eq!(bad_given_name(good), None, "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a b", "a\\b", "a?b",
            "a#b", "a%2e", "ä", "a\n", &long,
        ] {
            assert!(bad_artifact_name(bad).is_some(), "{bad}");
        }
        let digest = name_of_digest(&Sha256Hex([7; 32]));
        assert_eq!(bad_artifact_name(&digest), None);
        assert!(bad_given_name(&digest).is_some());
        assert_eq!(digest_of_name(&digest), Some(Sha256Hex([7; 32])));
    }
}
