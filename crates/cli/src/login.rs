//! `bootgate login`, `user`, `token` and `api`.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use bootgate_api::access::{
    LoginForToken, MadeToken, NewToken, NewUser, Secret, Token, User, UserChange,
};
use bootgate_api::control::{Forgotten, paths};

use crate::args::{ApiCommand, Format, LoginArgs, TokenCommand, UserCommand};
use crate::client::{Client, Done, Trouble};
use crate::exit;
use crate::remote::{Remote, Url};
use crate::table::{self, Cell, Style, Table};

/// Longest password that is read, in bytes.
const PASSWORD_MAX: u64 = 4096;

/// Logs in at a server, and keeps the token for commands that ask it from now on.
pub(crate) async fn login(args: LoginArgs) -> Done {
    let url = Url::read(&args.url)?;
    let Some(file) = url.token_file() else {
        return Err(Trouble::usage(
            "there is no place to keep the token",
            "HOME or XDG_CONFIG_HOME says where settings are",
        ));
    };
    let Some(user) = args.user.or_else(|| std::env::var("USER").ok()) else {
        return Err(Trouble::usage("who logs in is not said", "--user NAME"));
    };
    let password = password(&format!("Password of {user} at {url}: "))?;
    let client = Client::of(Remote::new(url, args.ca.as_deref(), None)?);
    let login = LoginForToken {
        user,
        password,
        name: args.name.unwrap_or_else(host),
        expires_in: args.expires,
    };
    let made: MadeToken = client.post(paths::LOGIN_TOKEN, &login).await?;
    keep(&file, &made.text).map_err(|error| {
        Trouble::infra(
            format!("keep the token in `{}`: {error}", file.display()),
            "",
        )
    })?;
    table::print(args.format, &made.token, |token| {
        let ends = token.expires.map_or_else(
            || "does not end".to_owned(),
            |at| format!("ends {}", table::when(at)),
        );
        exit::say(&format!(
            "logged in as {}; token `{}` in {} {ends}",
            token.role,
            token.name,
            file.display()
        ));
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The name of this host, as far as it can be part of a token's.
fn host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().take(32).map(letter).collect();
    if name.is_empty() {
        "host".to_owned()
    } else {
        name
    }
}

/// Writes the token for this user alone.
fn keep(file: &Path, token: &Secret) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let unfinished = file.with_extension("token.part");
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    out.set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(out, "{}", token.0)?;
    out.sync_all()?;
    fs::rename(&unfinished, file)
}

/// A password: typed without being shown, else the first line of standard input.
fn password(prompt: &str) -> Result<Secret, Trouble> {
    let unread = |error: io::Error| Trouble::usage(format!("read the password: {error}"), "");
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt)
            .map(Secret)
            .map_err(unread);
    }
    let mut line = String::new();
    io::Read::take(io::stdin().lock(), PASSWORD_MAX)
        .read_line(&mut line)
        .map_err(unread)?;
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Trouble::usage(
            "there is no password on standard input",
            "run it in a terminal, or give the password as the first line of standard input",
        ));
    }
    Ok(Secret(text.to_owned()))
}

/// A new password: where it is typed, it is typed twice.
fn new_password(name: &str) -> Result<Secret, Trouble> {
    let first = password(&format!("New password of {name}: "))?;
    if io::stdin().is_terminal() && password("Once more: ")? != first {
        let hint = "type the same password twice";
        return Err(Trouble::usage("the two passwords differ", hint));
    }
    Ok(first)
}

/// Lists and changes users.
pub(crate) async fn user(command: UserCommand) -> Done {
    match command {
        UserCommand::Add { name, role, reach } => {
            let client = Client::reach_or_make(&reach).await?;
            let password = new_password(&name)?;
            let new = NewUser {
                name,
                role,
                password,
            };
            let user: User = client.post(paths::USERS, &new).await?;
            table::print(reach.format, &user, |user| {
                exit::say(&format!("{} may log in as {}", user.name, user.role));
            })?;
        }
        UserCommand::List { reach } => {
            let client = Client::reach(&reach).await?;
            let users: Vec<User> = client.get(paths::USERS).await?;
            match reach.format {
                Format::Json => table::json(&users)?,
                Format::Text => list_users(&users),
            }
        }
        UserCommand::Remove { name, reach } => {
            let client = Client::reach(&reach).await?;
            let gone: Forgotten = client.delete(&paths::user(&name)).await?;
            if !gone.known {
                let hint = "`bootgate user list` shows the names";
                return Err(Trouble::usage(format!("no user `{name}` is known"), hint));
            }
            table::print(reach.format, &gone, |_| {
                exit::say(&format!(
                    "{name} may not log in any more; tokens of their logins ended"
                ));
            })?;
        }
        UserCommand::Passwd { name, reach } => {
            let client = Client::reach(&reach).await?;
            let change = UserChange {
                password: Some(new_password(&name)?),
                ..UserChange::default()
            };
            let user: User = client.patch(&paths::user(&name), &change).await?;
            table::print(reach.format, &user, |user| {
                exit::say(&format!(
                    "{} has a new password; former logins ended",
                    user.name
                ));
            })?;
        }
        UserCommand::Role { name, role, reach } => {
            let client = Client::reach(&reach).await?;
            let change = UserChange {
                role: Some(role),
                ..UserChange::default()
            };
            let user: User = client.patch(&paths::user(&name), &change).await?;
            table::print(reach.format, &user, |user| {
                exit::say(&format!("{} is {} now", user.name, user.role));
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_users(users: &[User]) {
    let mut table = Table::new(["USER", "ROLE", "ADDED"]);
    for user in users {
        table.row([
            (&user.name).into(),
            user.role.name().into(),
            table::ago(user.created).into(),
        ]);
    }
    table.print("no users");
}

/// Lists, makes and ends tokens.
pub(crate) async fn token(command: TokenCommand) -> Done {
    match command {
        TokenCommand::New {
            name,
            role,
            expires,
            reach,
        } => {
            let client = Client::reach_or_make(&reach).await?;
            let new = NewToken {
                name,
                role,
                expires_in: expires,
            };
            let made: MadeToken = client.post(paths::TOKENS, &new).await?;
            table::print(reach.format, &made, |made| {
                exit::note("the token is shown this one time:");
                exit::say(&made.text.0);
            })?;
        }
        TokenCommand::List { reach } => {
            let client = Client::reach(&reach).await?;
            let tokens: Vec<Token> = client.get(paths::TOKENS).await?;
            match reach.format {
                Format::Json => table::json(&tokens)?,
                Format::Text => list_tokens(&tokens),
            }
        }
        TokenCommand::Revoke { name, reach } => {
            let client = Client::reach(&reach).await?;
            let gone: Forgotten = client.delete(&paths::token(&name)).await?;
            if !gone.known {
                let hint = "`bootgate token list` shows the names";
                return Err(Trouble::usage(format!("no token `{name}` is known"), hint));
            }
            table::print(reach.format, &gone, |_| {
                exit::say(&format!("token {name} is good for nothing any more"));
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_tokens(tokens: &[Token]) {
    let mut table = Table::new(["TOKEN", "ROLE", "USER", "MADE", "ENDS"]);
    for token in tokens {
        let ends: Cell = match token.expires {
            None => "never".into(),
            Some(at) if table::is_past(at) => Cell::styled("ended", Style::Odd),
            Some(at) => table::ago(at).into(),
        };
        table.row([
            (&token.name).into(),
            token.role.name().into(),
            token.user.as_deref().unwrap_or("-").into(),
            table::ago(token.created).into(),
            ends,
        ]);
    }
    table.print("no tokens");
}

/// Describes the control interface.
pub(crate) fn api(command: &ApiCommand) -> ExitCode {
    let ApiCommand::Openapi = command;
    let document = bootgate_server::door::openapi();
    exit::say(&format!("{document:#}"));
    ExitCode::SUCCESS
}
