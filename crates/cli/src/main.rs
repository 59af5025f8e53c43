//! The bootgate command line.

mod args;
mod check;
mod console;
mod doctor;
mod exit;
mod lines;
mod media;
mod report;
mod run;
mod serve;
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
        Command::Media(command) => media::media(command),
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
