//! Runs a plan: brings up segment, servers and targets, feeds the verdict fold, performs its actions, and leaves the
//! evidence in a run folder.

mod able;
mod error;
pub mod folder;
mod images;
mod lan;
mod launcher;
mod live;
mod loaders;
mod machine;
mod machines;
mod nonce;
mod panics;
mod prepare;
pub mod proof;
mod recorder;
mod replay;
mod run;
mod segment;
mod serve;
mod services;
mod sockets;

pub use able::lacks;
pub use error::HarnessError;
pub use images::{CHUNKS, INDEX};
pub use panics::end_runs_on_panic;
pub use replay::{Replay, replay};
pub use run::{Attach, RunOptions, RunOutcome, run, skip};
pub use sockets::InterfaceSockets;
