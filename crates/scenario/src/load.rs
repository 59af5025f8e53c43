//! Files to plans.

use std::path::Path;

use toml::de::DeTable;

use crate::build;
use crate::checks::Checks;
use crate::diagnostic::{Problem, ScenarioError};
use crate::files::{Files, HostFiles};
use crate::read::{Problems, Reader};
use crate::wire::ScenarioWire;
use crate::{Lab, Plan, lab};

/// The longest scenario, lab or script file: 1 MiB.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// Reads a scenario and checks it, the files it names included.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn load(path: &Path) -> Result<Plan, ScenarioError> {
    let text = read("scenario", path)?;
    parse(&text, path, &HostFiles)
}

/// Checks the text of a scenario; `path` is the file it came from and where its paths begin.
///
/// # Errors
/// Something in it is wrong.
pub fn parse(text: &str, path: &Path, files: &dyn Files) -> Result<Plan, ScenarioError> {
    checked(text, path, files, |root, checks| {
        let wire = ScenarioWire::read(root);
        build::plan(&wire, checks)
    })
}

/// Reads a lab file: which real machines stand where.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn load_lab(path: &Path) -> Result<Lab, ScenarioError> {
    let text = read("lab", path)?;
    parse_lab(&text, path)
}

/// Checks the text of a lab file; `path` is the file it came from and where its paths begin.
///
/// # Errors
/// Something in it is wrong.
pub fn parse_lab(text: &str, path: &Path) -> Result<Lab, ScenarioError> {
    checked(text, path, &HostFiles, |root, checks| {
        lab::lab(root, text, checks)
    })
}

/// Parses the text and builds something of it; every problem on the way is an error. `path` is the file that the text
/// came from, and where its paths begin.
///
/// # Errors
/// Something in it is wrong, or `build` gives nothing.
pub fn checked<T>(
    text: &str,
    path: &Path,
    files: &dyn Files,
    build: impl FnOnce(Reader<'_, '_>, &Checks<'_>) -> Option<T>,
) -> Result<T, ScenarioError> {
    let fail = |problems| match ScenarioError::in_text(path, text, problems) {
        Some(error) => error,
        None => ScenarioError::unreadable(path, "nothing can be made of it", ""),
    };
    if text.len() as u64 > MAX_FILE {
        return Err(too_long(path));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message = format!("not TOML: {}", error.message());
        fail(vec![Problem::at(span, message).hint(
            "text values stand in quotes, tables in [brackets], repeated ones in [[double brackets]]",
        )])
    })?;
    let problems = Problems::default();
    let checks = Checks {
        file: path,
        folder: path.parent().unwrap_or(Path::new("")),
        files,
        problems: &problems,
    };
    let built = build(Reader::new(&table, "", &problems), &checks);
    let problems = problems.into_inner();
    match built {
        Some(built) if problems.is_empty() => Ok(built),
        _ => Err(fail(problems)),
    }
}

/// Reads the text of a file of this kind (`scenario`, `lab`).
///
/// # Errors
/// It cannot be read, is longer than 1 MiB, or is not UTF-8.
pub fn read(what: &str, path: &Path) -> Result<String, ScenarioError> {
    let bytes = HostFiles.head(path, MAX_FILE + 1).map_err(|error| {
        let hint = format!("give the path of a {what} file");
        ScenarioError::unreadable(path, error, &hint)
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(too_long(path));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let reason = format!("line {line} is not UTF-8 text");
        ScenarioError::unreadable(path, reason, "save the file as UTF-8")
    })
}

fn too_long(path: &Path) -> ScenarioError {
    let hint = "such a file is a short text; this looks like another kind of file";
    ScenarioError::unreadable(path, "it is longer than 1 MiB", hint)
}
