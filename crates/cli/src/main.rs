//! The bootgate command line.

mod args;
mod attempt;
mod check;
mod client;
mod console;
mod doctor;
mod exit;
mod explain;
mod export;
mod ipxe;
mod lease;
mod lines;
mod machine;
mod media;
mod report;
mod run;
mod segment;
mod serve;
mod state;
mod status;
mod table;
mod watch;
mod wol;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Report(args) => report::report(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Wol(args) => wol::wol(&args),
        Command::Machine(command) => client::run(machine::machine(command)),
        Command::Attempt(command) => client::run(attempt::attempt(command)),
        Command::Lease(command) => client::run(lease::lease(command)),
        Command::Explain(args) => client::run(explain::explain(args)),
        Command::Status(args) => client::run(status::status(args)),
        Command::State(command) => client::run(state::state(command)),
        Command::Media(command) => media::media(command),
        Command::Ipxe(command) => ipxe::ipxe(command),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "bootgate",
                &mut std::io::stdout(),
            );
            ExitCode::SUCCESS
        }
    }
}
