//! Users and tokens, in a file of the state's folder.
//!
//! Of a password its argon2id hash is stored, of a token its SHA-256 (it is random, so nothing has to be slow). Every
//! change is on disk before it counts; the file is written anew as a whole, readable by its owner alone.

mod file;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bootgate_api::UnixMicros;
use bootgate_api::access::{
    MadeToken, NewToken, PASSWORD_MAX, PASSWORD_MIN, Role, Secret, TOKEN_PREFIX, Token, User,
    UserChange,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::password;

/// Name of the file in the folder of the server's state.
pub const ACCOUNTS: &str = "accounts.json";

/// Version of the file that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Users and tokens at most, so that the file stays one that is read at once.
const MOST: usize = 10_000;

/// Longest life of a token that ends, in seconds: ten years.
const EXPIRES_MAX: u64 = 10 * 365 * 86_400;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// A change or a look was not done. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// What was asked for cannot be.
    #[error("{why}")]
    Bad {
        /// What is wrong.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// It contradicts what is there.
    #[error("{why}")]
    Conflict {
        /// What is there.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file is not one that this version reads.
    #[error("read `{path}`: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The system says no.
    #[error("{doing} `{path}`: {error}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl AccountError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }

    fn bad(why: impl Into<String>, hint: &'static str) -> Self {
        let why = why.into();
        Self::Bad { why, hint }
    }
}

/// Who asks, as a token or a session says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The user, or the token's name.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
}

/// Users and tokens.
pub struct Accounts {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    version: u32,
    /// By name.
    users: BTreeMap<String, StoredUser>,
    /// By name.
    tokens: BTreeMap<String, StoredToken>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUser {
    role: Role,
    created: UnixMicros,
    /// As a PHC string, with its salt and costs.
    password: Secret,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredToken {
    role: Role,
    created: UnixMicros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<UnixMicros>,
    /// Of its whole text, in hexadecimal.
    sha256: String,
}

impl StoredToken {
    fn shown(&self, name: &str) -> Token {
        Token {
            name: name.to_owned(),
            role: self.role,
            user: self.user.clone(),
            created: self.created,
            expires: self.expires,
        }
    }
}

impl StoredUser {
    fn shown(&self, name: &str) -> User {
        User {
            name: name.to_owned(),
            role: self.role,
            created: self.created,
        }
    }
}

impl Accounts {
    /// Reads the accounts of the state in `folder`; none where there is no file yet. The folder must belong to this
    /// process, as a store's does.
    ///
    /// # Errors
    /// The file cannot be read, is of another version, or can be read by others.
    pub fn open(folder: &Path) -> Result<Self, AccountError> {
        let path = folder.join(ACCOUNTS);
        let known = file::read(&path)?;
        Ok(Self {
            path,
            known: Mutex::new(known),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A change is made on a copy, so what is here is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change that counts when it is on disk.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Known) -> Result<T, AccountError>,
    ) -> Result<T, AccountError> {
        let mut known = self.lock();
        let mut changed = known.clone();
        let done = change(&mut changed)?;
        file::write(&self.path, &changed)?;
        *known = changed;
        Ok(done)
    }

    /// Whether anybody can come in over the network.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let known = self.lock();
        known.users.is_empty() && known.tokens.is_empty()
    }

    /// All users, by name.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let known = self.lock();
        let users = known.users.iter();
        users.map(|(name, user)| user.shown(name)).collect()
    }

    /// All tokens, by name; also those that ended.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        let known = self.lock();
        let tokens = known.tokens.iter();
        tokens.map(|(name, token)| token.shown(name)).collect()
    }

    /// Adds a user. Takes the time that a password's hash takes.
    ///
    /// # Errors
    /// The name is taken or none, the password is too short or too long, or the file cannot be written.
    pub fn add_user(
        &self,
        name: &str,
        role: Role,
        password: &Secret,
        now: UnixMicros,
    ) -> Result<User, AccountError> {
        check_name("user", name)?;
        let password = hashed(password)?;
        self.change(|known| {
            if known.users.contains_key(name) {
                return Err(AccountError::Conflict {
                    why: format!("user `{name}` is there already"),
                    hint: "`bootgate user passwd` gives another password",
                });
            }
            room(known)?;
            let user = StoredUser {
                role,
                created: now,
                password,
            };
            let shown = user.shown(name);
            known.users.insert(name.to_owned(), user);
            Ok(shown)
        })
    }

    /// Changes a user; `None` where there is none. With another password the tokens of logins end.
    ///
    /// # Errors
    /// The password is too short or too long, or the file cannot be written.
    pub fn change_user(
        &self,
        name: &str,
        change: &UserChange,
    ) -> Result<Option<User>, AccountError> {
        let password = change.password.as_ref().map(hashed).transpose()?;
        self.change(|known| {
            let Some(user) = known.users.get_mut(name) else {
                return Ok(None);
            };
            user.role = change.role.unwrap_or(user.role);
            if let Some(password) = password {
                user.password = password;
                let of_login = |token: &StoredToken| token.user.as_deref() == Some(name);
                known.tokens.retain(|_, token| !of_login(token));
            }
            Ok(known.users.get(name).map(|user| user.shown(name)))
        })
    }

    /// Removes a user and the tokens of their logins; whether there was one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove_user(&self, name: &str) -> Result<bool, AccountError> {
        self.change(|known| {
            let was = known.users.remove(name).is_some();
            let of_login = |token: &StoredToken| token.user.as_deref() == Some(name);
            known.tokens.retain(|_, token| !of_login(token));
            Ok(was)
        })
    }

    /// Makes a token.
    ///
    /// # Errors
    /// The name is taken or none, the time is too long, or the file cannot be written.
    pub fn add_token(&self, new: &NewToken, now: UnixMicros) -> Result<MadeToken, AccountError> {
        check_name("token", &new.name)?;
        let expires = ends(new.expires_in, now)?;
        self.change(|known| {
            let there = known.tokens.get(&new.name);
            if there.is_some_and(|token| token.expires.is_none_or(|ends| ends > now)) {
                return Err(AccountError::Conflict {
                    why: format!("token `{}` is there already", new.name),
                    hint: "choose another name, or end that one with `bootgate token revoke`",
                });
            }
            room(known)?;
            put(known, &new.name, new.role, None, expires, now)
        })
    }

    /// Makes a token of the user's own role after a login; one of theirs with that name ends. `None` where the user is
    /// not there any more.
    pub(crate) fn add_token_of(
        &self,
        user: &str,
        name: &str,
        expires_in: u64,
        now: UnixMicros,
    ) -> Result<Option<MadeToken>, AccountError> {
        let name = format!("{user}.{name}");
        check_name("token", &name)?;
        let expires = ends(Some(expires_in), now)?;
        self.change(|known| {
            let Some(role) = known.users.get(user).map(|user| user.role) else {
                return Ok(None);
            };
            let other = known.tokens.get(&name);
            if other.is_some_and(|token| token.user.as_deref() != Some(user)) {
                return Err(AccountError::Conflict {
                    why: format!("token `{name}` is there already, and is not of a login"),
                    hint: "choose another name",
                });
            }
            room(known)?;
            put(known, &name, role, Some(user.to_owned()), expires, now).map(Some)
        })
    }

    /// Ends a token; whether there was one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn revoke(&self, name: &str) -> Result<bool, AccountError> {
        self.change(|known| Ok(known.tokens.remove(name).is_some()))
    }

    /// Who a token's text stands for now.
    pub(crate) fn by_token(&self, text: &str, now: UnixMicros) -> Option<Principal> {
        if !text.starts_with(TOKEN_PREFIX) {
            return None;
        }
        // Digests are compared, of which nobody can choose a beginning: how long that takes tells nothing.
        let sha256 = digest(text);
        let known = self.lock();
        let (name, token) = known
            .tokens
            .iter()
            .find(|(_, token)| token.sha256 == sha256)?;
        if token.expires.is_some_and(|ends| ends <= now) {
            return None;
        }
        let role = match &token.user {
            Some(user) => token.role.min(known.users.get(user)?.role),
            None => token.role,
        };
        Some(Principal {
            name: name.clone(),
            role,
        })
    }

    /// The user with this password, and the mark that their session has. As much work for an unknown user as for a
    /// known one; blocks for that time.
    pub(crate) fn by_password(&self, user: &str, text: &Secret) -> Option<(Principal, String)> {
        let stored = self.lock().users.get(user).cloned();
        let hash = stored.as_ref().map(|stored| stored.password.0.as_str());
        if !password::is(&text.0, hash) {
            return None;
        }
        let stored = stored?;
        let principal = Principal {
            name: user.to_owned(),
            role: stored.role,
        };
        Some((principal, digest(&stored.password.0)))
    }

    /// The user of a session with this mark: it is none any more when the password is another one.
    pub(crate) fn by_session(&self, user: &str, mark: &str) -> Option<Principal> {
        let known = self.lock();
        let stored = known.users.get(user)?;
        (digest(&stored.password.0) == mark).then(|| Principal {
            name: user.to_owned(),
            role: stored.role,
        })
    }
}

fn put(
    known: &mut Known,
    name: &str,
    role: Role,
    user: Option<String>,
    expires: Option<UnixMicros>,
    now: UnixMicros,
) -> Result<MadeToken, AccountError> {
    let text = random().map_err(AccountError::io("read", Path::new(RANDOM)))?;
    let text = format!("{TOKEN_PREFIX}{text}");
    let token = StoredToken {
        role,
        created: now,
        user,
        expires,
        sha256: digest(&text),
    };
    let shown = token.shown(name);
    known.tokens.insert(name.to_owned(), token);
    // Those that ended a day ago are of interest to nobody.
    let yesterday = UnixMicros(now.0.saturating_sub(86_400 * SECOND));
    let kept = |token: &StoredToken| token.expires.is_none_or(|ends| ends > yesterday);
    known.tokens.retain(|_, token| kept(token));
    Ok(MadeToken {
        text: Secret(text),
        token: shown,
    })
}

/// Where randomness comes from.
const RANDOM: &str = "/dev/urandom";

/// 256 random bits in hexadecimal.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    fs::File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn check_name(what: &str, name: &str) -> Result<(), AccountError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let first = name.bytes().next();
    let good = name.len() <= 64
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(letter);
    if good {
        return Ok(());
    }
    Err(AccountError::bad(
        format!("that is no name for a {what}"),
        "1 to 64 letters, digits, `-`, `_` and `.`, the first one a letter or digit",
    ))
}

fn hashed(text: &Secret) -> Result<Secret, AccountError> {
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&text.0.chars().count()) {
        return Err(AccountError::bad(
            "the password is too short or too long",
            "8 letters at least, 256 at most",
        ));
    }
    let hash = password::hash(&text.0);
    hash.map(Secret)
        .map_err(|error| AccountError::io("read", Path::new(RANDOM))(error))
}

fn ends(expires_in: Option<u64>, now: UnixMicros) -> Result<Option<UnixMicros>, AccountError> {
    match expires_in {
        None => Ok(None),
        Some(seconds) if (1..=EXPIRES_MAX).contains(&seconds) => {
            Ok(Some(now.plus_seconds(seconds)))
        }
        Some(seconds) => Err(AccountError::bad(
            format!("a token cannot be good for `{seconds}` seconds"),
            "from one second to ten years; leave it away for a token that does not end",
        )),
    }
}

fn room(known: &Known) -> Result<(), AccountError> {
    if known.users.len() + known.tokens.len() < MOST {
        return Ok(());
    }
    Err(AccountError::Conflict {
        why: format!("there are {MOST} users and tokens already"),
        hint: "`bootgate token revoke` ends those that nobody uses",
    })
}
