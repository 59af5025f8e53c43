//! The forbidden markers that every scenario has unless it says otherwise.

use bootgate_events::ForbidRule;

/// The shipped set. Names are unique and stable, so that a scenario can switch one off by name.
#[must_use]
pub fn default_forbidden() -> Vec<ForbidRule> {
    Vec::new()
}
