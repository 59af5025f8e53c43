//! Who may ask a boot server over the network: users, tokens, roles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMicros;

/// What the text of every token begins with, so that one is recognised wherever it turns up.
pub const TOKEN_PREFIX: &str = "bgt_";

/// The header that requests with a session's cookie carry where they change something; its value is [`Session::csrf`].
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Shortest password, in letters.
pub const PASSWORD_MIN: usize = 8;

/// Longest password, in letters.
pub const PASSWORD_MAX: usize = 256;

/// What somebody may do. Each role may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Sets machines, arms them, uploads.
    Operator,
    /// Manages users and tokens, deletes, makes backups.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| "give viewer, operator or admin".to_owned())
    }
}

/// A text that is in no log: debug output leaves it out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A password that can be given to somebody.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(transparent)]
#[allow(dead_code, reason = "it is there to be described")]
struct Password(#[schemars(length(min = 8, max = 256))] String);

/// Somebody with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created: UnixMicros,
}

/// The body of `POST` [`paths::USERS`](crate::control::paths::USERS): a new user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name: 1 to 64 letters, digits, `-`, `_` and `.`, the first one a letter or digit.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))
    )]
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The password, of [`PASSWORD_MIN`] to [`PASSWORD_MAX`] letters.
    #[cfg_attr(feature = "schema", schemars(with = "Password"))]
    pub password: Secret,
}

/// The body of `PATCH` [`paths::user`](crate::control::paths::user). Who logged in before has to do so again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Another password. The tokens that the user got by the former one end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Password>"))]
    pub password: Option<Secret>,
}

/// A token, without its text, which nobody knows but who it was shown to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Token {
    /// Its name; unique.
    pub name: String,
    /// What its holder may do; of a user's token no more than the user may.
    pub role: Role,
    /// The user who got it by a login; `None` where an administrator made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it was made.
    pub created: UnixMicros,
    /// When it ends; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMicros>,
}

/// The body of `POST` [`paths::TOKENS`](crate::control::paths::TOKENS): a new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`, the first one a letter or digit.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))
    )]
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// How long it is good, in seconds, up to ten years; `None`: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 315_360_000)))]
    pub expires_in: Option<u64>,
}

/// A token that was made. The only time that its text is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MadeToken {
    /// Its text, [`TOKEN_PREFIX`] and 64 hexadecimal digits.
    pub text: Secret,
    /// What it is.
    pub token: Token,
}

/// The body of `POST` [`paths::LOGIN`](crate::control::paths::LOGIN): name and password for a session, which the
/// answer's cookie stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Their password.
    pub password: Secret,
}

/// The body of `POST` [`paths::LOGIN_TOKEN`](crate::control::paths::LOGIN_TOKEN): name and password for a token of the
/// user's own role. A token of the user's that has the name ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginForToken {
    /// The user.
    pub user: String,
    /// Their password.
    pub password: Secret,
    /// The token's name, such as that of the host it is kept on; the user's is put before it.
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,32}$"))
    )]
    pub name: String,
    /// How long it is good, in seconds, up to 365 days; 30 days where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub expires_in: Option<u64>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// The user, or the token's name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// With a session's cookie: what requests that change something carry in [`CSRF_HEADER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<Secret>,
}
