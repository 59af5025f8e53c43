//! Files to plans.

use std::path::Path;

use toml::de::DeTable;

use crate::build;
use crate::checks::Checks;
use crate::diagnostic::{Problem, ScenarioError};
use crate::files::{Files, HostFiles, Remembered};
use crate::read::{Problems, Reader};
use crate::wire::ScenarioWire;
use crate::{Lab, Plan, lab, matrix};

/// The longest scenario, lab or script file: 1 MiB.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// Reads a scenario without a matrix and checks it, the files it names included.
///
/// # Errors
/// The file cannot be read, something in it is wrong, or it has a matrix: that is for [`load_all`].
pub fn load(path: &Path) -> Result<Plan, ScenarioError> {
    let text = read("scenario", path)?;
    parse(&text, path, &HostFiles)
}

/// Checks the text of a scenario without a matrix; `path` is the file it came from and where its paths begin.
///
/// # Errors
/// Something in it is wrong, or it has a matrix: that is for [`parse_all`].
pub fn parse(text: &str, path: &Path, files: &dyn Files) -> Result<Plan, ScenarioError> {
    checked(text, path, files, |root, checks| {
        let wire = ScenarioWire::read(root);
        if let Some(matrix) = &wire.matrix {
            checks.fail(
                Problem::at(
                    matrix.span.clone(),
                    "`[matrix]` makes several scenarios of this one",
                )
                .hint("one is wanted here: leave `[matrix]` out"),
            );
        }
        build::plan(&wire, checks)
    })
}

/// Reads a scenario and checks it, the files it names included. Gives a plan for each cell of its matrix, in the
/// matrix's order and then that of `include`; one plan where it has no matrix.
///
/// # Errors
/// The file cannot be read, or something in it is wrong; a cell that no host could run is.
pub fn load_all(path: &Path) -> Result<Vec<Plan>, ScenarioError> {
    let text = read("scenario", path)?;
    parse_all(&text, path, &HostFiles)
}

/// Checks the text of a scenario, see [`load_all`]; `path` is the file it came from and where its paths begin.
///
/// # Errors
/// Something in it is wrong.
pub fn parse_all(text: &str, path: &Path, files: &dyn Files) -> Result<Vec<Plan>, ScenarioError> {
    // The cells ask for the same files.
    let files = Remembered::new(files);
    checked(text, path, &files, |root, checks| {
        let wire = ScenarioWire::read(root);
        match &wire.matrix {
            None => build::plan(&wire, checks).map(|plan| vec![plan]),
            Some(matrix) => {
                let chosen = matrix::cells(matrix, checks)?;
                Some(matrix::applied(&wire, &chosen, checks))
            }
        }
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
