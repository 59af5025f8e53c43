//! Scenario files, console markers and the verdict fold.
