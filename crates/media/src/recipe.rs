//! Reading recipes.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::MediaError;

/// Reads a recipe; an unknown key is an error that names it with its line.
pub(crate) fn load<R: DeserializeOwned>(path: &Path) -> Result<R, MediaError> {
    let text = std::fs::read_to_string(path).map_err(MediaError::io("read recipe", path))?;
    toml::from_str(&text).map_err(|error| wrong(path, error.to_string().trim_end()))
}

pub(crate) fn wrong(path: &Path, message: impl Into<String>) -> MediaError {
    MediaError::Recipe {
        path: path.to_owned(),
        message: message.into(),
    }
}
