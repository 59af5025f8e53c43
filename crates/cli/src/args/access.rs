//! Commands about who may ask a server.

use std::path::PathBuf;

use bootgate_api::access::Role;
use clap::{Args, Subcommand};

use super::{Format, Reach};

/// A server on the network.
#[derive(Debug, Args)]
pub(crate) struct Network {
    /// A server on the network, in place of the one whose state is here.
    #[arg(long, value_name = "URL", env = "BOOTGATE_SERVER")]
    pub(crate) server: Option<String>,
    /// The file with the token for the server. Default: what `bootgate login` stored.
    #[arg(long, value_name = "FILE", env = "BOOTGATE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate of the authority that made the server's (PEM). Default: those that this host trusts.
    #[arg(long, value_name = "FILE", env = "BOOTGATE_CA")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bootgate login https://bootgate.example:8443 --user ada\n  \
    BOOTGATE_SERVER=https://bootgate.example:8443 bootgate machine list")]
pub(crate) struct LoginArgs {
    /// The server: https://HOST:PORT.
    #[arg(value_name = "URL", env = "BOOTGATE_SERVER")]
    pub(crate) url: String,
    /// The user. Default: the user of this host.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The certificate of the authority that made the server's (PEM). Default: those that this host trusts.
    #[arg(long, value_name = "FILE", env = "BOOTGATE_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// What the token is called at the server, after the user. Default: this host's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How long the login is good: `12h`, `30d` (the default), up to `365d`.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) expires: Option<u64>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; the password is asked for, or read from standard input.
    #[command(after_help = "Example:\n  bootgate user add ada --role operator")]
    Add {
        /// The name to log in with.
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do: viewer, operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
        #[command(flatten)]
        reach: Reach,
    },
    /// List users.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove a user, and the tokens of their logins.
    Remove {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a user another password. Who logged in before has to do so again.
    Passwd {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Give a user another role.
    #[command(after_help = "Example:\n  bootgate user role ada admin")]
    Role {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do: viewer, operator or admin.
        #[arg(value_name = "ROLE")]
        role: Role,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, which is printed this one time.
    #[command(
        after_help = "Example:\n  (umask 077; bootgate token new --role operator --name ci --expires 90d > ci.token)"
    )]
    New {
        /// Its name.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What its holder may do: viewer, operator or admin.
        #[arg(long)]
        role: Role,
        /// How long it is good: `12h`, `90d`. Default: until it is revoked.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires: Option<u64>,
        #[command(flatten)]
        reach: Reach,
    },
    /// List tokens, without their texts.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// End a token.
    #[command(after_help = "Example:\n  bootgate token revoke ci")]
    Revoke {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Print the OpenAPI document of the control interface.
    Openapi,
}

/// Reads `90d`, `12h`, `30m` or `60s`.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
    let found = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|seconds| *seconds > 0)
    });
    found.ok_or_else(|| "give a number and a unit: 90d, 12h, 30m".to_owned())
}
