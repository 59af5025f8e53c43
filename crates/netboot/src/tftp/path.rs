//! What a client may write where a file's name belongs.

use std::fmt;

/// Longest path in bytes.
pub const PATH_MAX: usize = 255;

/// A path below the root: parts separated by `/`, none of them empty, `.` or `..`, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelPath(String);

impl RelPath {
    /// The path as text, without a leading `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing is named.
    #[error("the file name is empty")]
    Empty,
    /// Longer than [`PATH_MAX`].
    #[error("the file name is longer than {PATH_MAX} bytes")]
    TooLong,
    /// Not UTF-8, or control characters in it.
    #[error("the file name holds bytes that are not printable text")]
    NotText,
    /// A part is `..`.
    #[error("the file name leaves the root with `..`")]
    Parent,
    /// It begins with a drive letter, as DOS writes it.
    #[error("the file name begins with a drive letter")]
    Drive,
}

/// Turns what a client wrote into a path below the root. DOS loaders write `\` for `/`, and many loaders begin with
/// `/`, by which they mean the root. The text is judged after `\` became `/`, so no spelling of `..` gets by.
///
/// # Errors
/// The text names nothing, leaves the root or is not printable text.
pub fn sanitize_path(text: &str) -> Result<RelPath, PathError> {
    if text.len() > PATH_MAX {
        return Err(PathError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(PathError::NotText);
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split(['/', '\\']) {
        match part {
            "" | "." => continue,
            ".." => return Err(PathError::Parent),
            _ => {}
        }
        if !path.is_empty() {
            path.push('/');
        } else if matches!(part.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
            return Err(PathError::Drive);
        }
        path.push_str(part);
    }
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    Ok(RelPath(path))
}
