//! Scenario files, console markers and the verdict fold.

pub mod console;
pub mod defaults;
pub mod fold;
pub mod marker;

mod diagnostic;
mod load;
mod nbp;
mod plan;

pub use diagnostic::{Problem, ScenarioError};
pub use load::{Lab, load, load_lab};
pub use nbp::MissingNbp;
pub use plan::{
    BoardPlan, DiskPlan, Driver, Firmware, ImageFormat, ImagePlan, NbpPlan, NetbootPlan,
    NetworkPlan, NicRom, Payload, Plan, PowerPlan, QemuPlan, TargetPlan,
};
