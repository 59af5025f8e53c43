//! Scenario files, console markers and the verdict fold.

pub mod console;
pub mod defaults;
pub mod file;
pub mod fold;
pub mod marker;

mod build;
mod checks;
mod diagnostic;
mod files;
mod lab;
mod load;
mod nbp;
mod plan;
mod read;
mod suggest;
mod units;
mod wire;

pub use diagnostic::{Problem, ScenarioError};
pub use files::{Files, HostFiles};
pub use lab::Lab;
pub use load::{load, load_lab, parse, parse_lab};
pub use nbp::MissingNbp;
pub use plan::{
    BoardPlan, DiskPlan, Driver, Firmware, ImageFormat, ImagePlan, NbpPlan, NetbootPlan,
    NetworkPlan, NicRom, Payload, Plan, PowerPlan, QemuPlan, TargetPlan,
};
