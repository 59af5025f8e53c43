//! Passwords' hashes: argon2id with the costs that OWASP's password storage cheat sheet asks for at least (19 MiB, two
//! passes, one lane), which are the library's.

use std::io;
use std::sync::OnceLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// The password's hash with a salt of its own, as a PHC string.
pub(super) fn hash(text: &str) -> io::Result<String> {
    let hash = Argon2::default().hash_password(text.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Whether it is the password of this hash. Without a hash it is not, and that takes as long.
pub(super) fn is(text: &str, hash: Option<&str>) -> bool {
    let parsed = hash.and_then(|hash| PasswordHash::new(hash).ok());
    match parsed {
        Some(parsed) => Argon2::default()
            .verify_password(text.as_bytes(), &parsed)
            .is_ok(),
        None => {
            if let Some(parsed) = nobody().and_then(|hash| PasswordHash::new(hash).ok()) {
                let _ = Argon2::default().verify_password(text.as_bytes(), &parsed);
            }
            false
        }
    }
}

/// The hash of a password that nobody has.
fn nobody() -> Option<&'static str> {
    static HASH: OnceLock<Option<String>> = OnceLock::new();
    HASH.get_or_init(|| hash("").ok()).as_deref()
}
