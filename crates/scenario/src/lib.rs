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
pub mod matrix;
mod nbp;
mod plan;
mod profile;
mod read;
mod suggest;
mod units;
mod wire;

pub use diagnostic::{Problem, ScenarioError};
pub use files::{Files, HostFiles};
pub use lab::Lab;
pub use load::{load, load_all, load_lab, parse, parse_all, parse_lab};
pub use nbp::{MissingNbp, PREPARED_IPXE};
pub use plan::{
    BoardPlan, Cell, DhcpPlan, DiskBus, DiskPlan, Driver, ImageFormat, ImagePlan, LanServer,
    NbpPlan, NetbootPlan, NetworkPlan, NicLink, NicPlan, NicRom, Payload, Plan, PowerPlan,
    QemuPlan, TargetPlan,
};
pub use profile::{BootPath, FirmwareProfile, Loader, Platform};
