//! The bootgate command line.

mod args;
mod artifact;
mod attempt;
mod check;
mod client;
mod console;
mod doctor;
mod exit;
mod explain;
mod export;
mod image;
mod ipxe;
mod lease;
mod lines;
mod login;
mod machine;
mod media;
mod remote;
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
        Command::Artifact(command) => client::run(artifact::artifact(command)),
        Command::Image(command) => client::run(image::image(command)),
        Command::Lease(command) => client::run(lease::lease(command)),
        Command::Explain(args) => client::run(explain::explain(args)),
        Command::Status(args) => client::run(status::status(args)),
        Command::Reload(args) => client::run(status::reload(args)),
        Command::State(command) => client::run(state::state(command)),
        Command::Login(args) => client::run(login::login(args)),
        Command::User(command) => client::run(login::user(command)),
        Command::Token(command) => client::run(login::token(command)),
        Command::Api(command) => login::api(&command),
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
