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
///
/// In the order of RFC 9110 section 13.2.2: `If-None-Match` first, then `Range` under `If-Range`. An `If-Range`
/// with a date never matches, since files here have entity tags and no dates: the whole file is sent.
#[must_use]
pub fn select(conditions: &Conditions<'_>, size: u64, etag: &str) -> Selection {
    if conditions
        .if_none_match
        .is_some_and(|tags| any_tag_matches(tags, etag))
    {
        return Selection::NotModified;
    }
    let Some(range) = conditions.range.filter(|_| conditions.get) else {
        return Selection::Whole;
    };
    // Strong comparison: a weak tag on either side never matches (RFC 9110 section 13.1.5).
    let same = conditions
        .if_range
        .is_none_or(|tag| tag.trim() == etag && !etag.starts_with("W/"));
    if same {
        select_range(range, size)
    } else {
        Selection::Whole
    }
}

/// The meaning of a `Range` value for a file of `size` bytes (RFC 9110 section 14.1.2).
///
/// Other units, several ranges and nonsense are ignored, as the RFC allows: the whole file is sent. Negative positions,
/// which 32-bit iPXE sends past 2 GiB, cannot be satisfied: a client that counts in them would take the whole file
/// for the part it wanted.
#[must_use]
pub fn select_range(value: &str, size: u64) -> Selection {
    let Some((unit, set)) = value.trim().split_once('=') else {
        return Selection::Whole;
    };
    let set = set.trim();
    if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selection::Whole;
    }
    // The first `-` that is not a sign: `-5` is a suffix, and `-9-5`, `5--3` and `--5` have negative positions.
    let Some((first, last)) = set.split_once('-') else {
        return Selection::Whole;
    };
    if last.contains('-') && last.chars().all(|c| c == '-' || c.is_ascii_digit()) {
        return Selection::Unsatisfiable;
    }
    let part = match (first.is_empty(), last.is_empty()) {
        (true, true) => return Selection::Whole,
        (true, false) => number(last).map(|length| (size.saturating_sub(length), size)),
        (false, true) => number(first).map(|start| (start, size)),
        (false, false) => match (number(first), number(last)) {
            (Some(start), Some(end)) if start <= end => {
                Some((start, end.saturating_add(1).min(size)))
            }
            _ => None,
        },
    };
    match part {
        None => Selection::Whole,
        Some((start, end)) if start < end => Selection::Part(start..end),
        Some(_) => Selection::Unsatisfiable,
    }
}

/// A number of digits alone; one too large for 64 bits is past the end of every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `If-None-Match`: `*` or a list of tags, compared weakly (RFC 9110 section 13.1.2).
fn any_tag_matches(list: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    list.trim() == "*" || list.split(',').any(|tag| opaque(tag) == opaque(etag))
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
/// cannot hold are left out, and commas, so that lists of tags can be split at them.
#[must_use]
pub fn etag(content: &str) -> String {
    let kept: String = content
        .chars()
        .filter(|c| matches!(c, '!' | '#'..='~') && *c != ',')
        .collect();
    format!("\"{kept}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Selection::{NotModified, Part, Unsatisfiable, Whole};

    #[test]
    fn ranges_of_rfc_9110() {
        for (value, wanted) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-9", Part(0..10)),
            ("bytes=0-", Part(0..100)),
            ("bytes=99-", Part(99..100)),
            ("bytes=90-200", Part(90..100)),
            ("bytes=0-99999999999999999999999", Part(0..100)),
            ("bytes=-1", Part(99..100)),
            ("bytes=-500", Part(0..100)),
            ("Bytes= 3-4 ", Part(3..5)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=9-3", Whole),
            ("bytes=0-1,5-6", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-b", Whole),
            ("bytes=+1-2", Whole),
            ("lines=0-1", Whole),
            ("bytes", Whole),
            ("", Whole),
        ] {
            assert_eq!(select_range(value, 100), wanted, "`{value}`");
        }
    }

    #[test]
    fn negative_positions_of_32_bit_ipxe_get_416() {
        for value in [
            "bytes=-2147483648--2147483521",
            "bytes=-100-155",
            "bytes=2147483600--2147483521",
            "bytes=--5",
        ] {
            assert_eq!(select_range(value, 1 << 40), Unsatisfiable, "`{value}`");
        }
    }

    #[test]
    fn an_empty_file_has_no_range() {
        for value in ["bytes=0-0", "bytes=0-", "bytes=-1"] {
            assert_eq!(select_range(value, 0), Unsatisfiable, "`{value}`");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let tag = etag("abc");
        assert_eq!(tag, "\"abc\"");
        let get = Conditions {
            get: true,
            range: Some("bytes=1-2"),
            ..Conditions::default()
        };
        let head = Conditions { get: false, ..get };
        assert_eq!(select(&get, 9, &tag), Part(1..3));
        assert_eq!(select(&head, 9, &tag), Whole, "a range counts for GET only");
        let cached = Conditions {
            if_none_match: Some("\"x\", W/\"abc\""),
            ..get
        };
        assert_eq!(select(&cached, 9, &tag), NotModified);
        let any = Conditions {
            if_none_match: Some("*"),
            ..head
        };
        assert_eq!(select(&any, 9, &tag), NotModified);
        let other = Conditions {
            if_none_match: Some("\"abcd\""),
            ..get
        };
        assert_eq!(select(&other, 9, &tag), Part(1..3));
    }

    #[test]
    fn if_range_compares_strongly() {
        let tag = etag("abc");
        let with = |if_range| Conditions {
            get: true,
            range: Some("bytes=1-2"),
            if_range: Some(if_range),
            if_none_match: None,
        };
        assert_eq!(select(&with("\"abc\""), 9, &tag), Part(1..3));
        for changed in ["\"abd\"", "W/\"abc\"", "Sat, 29 Oct 1994 19:43:31 GMT", ""] {
            assert_eq!(select(&with(changed), 9, &tag), Whole, "`{changed}`");
        }
    }

    #[test]
    fn content_range_is_inclusive() {
        assert_eq!(content_range(&(1..3), 9), "bytes 1-2/9");
        assert_eq!(content_range_unsatisfiable(9), "bytes */9");
    }
}
