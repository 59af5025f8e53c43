//! HTTP's conditional and range requests (RFC 9110), without HTTP.

use std::ops::Range;

/// The header fields of a GET or HEAD request that decide which part of a file is sent; as text, `None` where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// Whether the method is GET; a range counts for no other (RFC 9110 section 14.2).
    pub get: bool,
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 304, no body.
    NotModified,
    /// 200 with the whole file.
    Whole,
    /// 206 with these bytes; never empty, inside the file.
    Part(Range<u64>),
    /// 416, with `Content-Range: bytes */SIZE`.
    Unsatisfiable,
}

/// Decides what part of a file of `size` bytes with entity tag `etag` (with its quotes, such as `"abc"`) is sent.
#[must_use]
pub fn select(conditions: &Conditions<'_>, size: u64, etag: &str) -> Selection {
    let _ = (conditions, size, etag);
    Selection::Whole
}

/// Value of `Content-Range` for a [`Selection::Part`].
#[must_use]
pub fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1))
}

/// Value of `Content-Range` for [`Selection::Unsatisfiable`].
#[must_use]
pub fn content_range_unsatisfiable(size: u64) -> String {
    format!("bytes */{size}")
}

/// A strong entity tag from a digest or another text that changes with the content. Characters that an entity tag
/// cannot hold are left out.
#[must_use]
pub fn etag(content: &str) -> String {
    let kept: String = content
        .chars()
        .filter(|c| matches!(c, '!' | '#'..='~'))
        .collect();
    format!("\"{kept}\"")
}
