//! Files to plans.

use std::path::Path;

use crate::{Plan, ScenarioError};

/// Reads a scenario and checks it.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn load(path: &Path) -> Result<Plan, ScenarioError> {
    Err(ScenarioError::unreadable(path, "not written yet", ""))
}

/// Reads a lab file: which real machines stand where.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn load_lab(path: &Path) -> Result<Lab, ScenarioError> {
    Err(ScenarioError::unreadable(path, "not written yet", ""))
}

/// The real machines of a laboratory, to run scenarios on. See [`Plan::with_lab`].
#[derive(Clone, Debug)]
pub struct Lab {}

impl Plan {
    /// The same plan with every target on a board of the laboratory: the one of the target's name, else one whose
    /// firmware is the target's.
    ///
    /// # Errors
    /// A target finds no board, or two targets would have one MAC address.
    pub fn with_lab(self, lab: &Lab) -> Result<Plan, ScenarioError> {
        let _ = lab;
        Ok(self)
    }
}
