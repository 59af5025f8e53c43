//! Checks that files of every kind need: names, paths, durations, sizes, words.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bootgate_events::{MacAddr, Stage};

use crate::diagnostic::Problem;
use crate::files::Files;
use crate::read::{Problems, Text, shorten};
use crate::suggest;
use crate::units;

/// Longest name of a network interface (Linux: IFNAMSIZ is 16 with the closing NUL).
const INTERFACE_MAX: usize = 15;

/// What every check needs. A check that fails tells why in `problems` and gives `None`.
pub struct Checks<'a> {
    /// The file being checked.
    pub file: &'a Path,
    /// Where paths in the file begin.
    pub folder: &'a Path,
    /// The outside world.
    pub files: &'a dyn Files,
    /// What was found wrong.
    pub problems: &'a Problems,
}

impl Checks<'_> {
    /// Tells a problem.
    pub fn fail(&self, problem: Problem) {
        self.problems.add(problem);
    }

    /// The path as the host sees it.
    pub fn path(&self, text: &Text) -> PathBuf {
        self.folder.join(text.get_ref())
    }

    /// The path of a regular file, and its length.
    pub fn regular(&self, key: &str, text: &Text) -> Option<(PathBuf, u64)> {
        let path = self.path(text);
        match self.files.length(&path) {
            Ok(length) => Some((path, length)),
            Err(error) => {
                let shown = shorten(text.get_ref());
                let reason = reason(&error);
                self.fail(
                    Problem::at(text.span(), format!("`{key}` names `{shown}`: {reason}"))
                        .label("this file")
                        .hint(format!(
                            "looked for `{}`; paths begin at the folder of this file",
                            path.display()
                        )),
                );
                None
            }
        }
    }

    /// A duration over zero and of a day at most, in milliseconds.
    pub fn duration(&self, key: &str, text: &Text) -> Option<u64> {
        self.duration_within(key, text, units::DAY_MS)
    }

    /// A duration over zero and of `longest_ms` at most, in milliseconds.
    pub fn duration_within(&self, key: &str, text: &Text, longest_ms: u64) -> Option<u64> {
        let shown = shorten(text.get_ref());
        match units::duration_ms(text.get_ref(), longest_ms) {
            Ok(0) => {
                self.fail(
                    Problem::at(text.span(), format!("`{key}` is `{shown}`: no time at all"))
                        .label("must be longer")
                        .hint("give the time it may take, like \"30s\", or leave the key out for its default"),
                );
                None
            }
            Ok(ms) => Some(ms),
            Err(hint) => {
                self.fail(
                    Problem::at(text.span(), format!("`{key}` is `{shown}`: not a duration"))
                        .hint(hint),
                );
                None
            }
        }
    }

    /// A size in bytes.
    pub fn size(&self, key: &str, text: &Text) -> Option<u64> {
        let shown = shorten(text.get_ref());
        units::size_bytes(text.get_ref())
            .map_err(|hint| {
                self.fail(
                    Problem::at(text.span(), format!("`{key}` is `{shown}`: not a size"))
                        .hint(hint),
                );
            })
            .ok()
    }

    /// One of the words that `key` can be.
    pub fn word<T: Copy>(&self, key: &str, text: &Text, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| word == text.get_ref());
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let shown = shorten(text.get_ref());
            self.fail(
                Problem::at(text.span(), format!("`{key}` cannot be `{shown}`"))
                    .hint(suggest::hint(text.get_ref(), &known)),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// A stage's name.
    pub fn stage(&self, text: &Text) -> Option<Stage> {
        if let Ok(stage) = text.get_ref().parse() {
            return Some(stage);
        }
        let known: Vec<&str> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        self.fail(
            Problem::at(
                text.span(),
                format!("unknown stage `{}`", shorten(text.get_ref())),
            )
            .label("not a stage")
            .hint(suggest::hint(text.get_ref(), &known)),
        );
        None
    }

    /// A name that can stand in reports, file names and URLs.
    pub fn name(&self, key: &str, text: &Text) -> Option<String> {
        if is_name(text.get_ref()) {
            return Some(text.get_ref().clone());
        }
        let shown = shorten(text.get_ref());
        self.fail(
            Problem::at(text.span(), format!("`{key}` cannot be `{shown}`")).hint(
                "use 1 to 64 letters, digits, `-`, `_` and `.`, the first one a letter or digit",
            ),
        );
        None
    }

    /// The hardware address of one station.
    pub fn mac(&self, key: &str, text: &Text) -> Option<MacAddr> {
        let shown = shorten(text.get_ref());
        let fail = |problem: &str, hint: &str| {
            self.fail(
                Problem::at(text.span(), format!("`{key}` is `{shown}`: {problem}")).hint(hint),
            );
            None
        };
        match text.get_ref().parse::<MacAddr>() {
            Err(_) => fail(
                "not an Ethernet address",
                "six hexadecimal pairs, like \"52:54:00:12:34:56\"",
            ),
            Ok(mac) if mac.is_multicast() => fail(
                "a group address, which no machine has",
                "the second digit must be even, like in \"52:54:00:12:34:56\"",
            ),
            Ok(MacAddr([0, 0, 0, 0, 0, 0])) => {
                fail("the empty address", "like \"52:54:00:12:34:56\"")
            }
            Ok(mac) => Some(mac),
        }
    }

    /// What can be the name of a network interface.
    pub fn interface(&self, key: &str, text: &Text) -> Option<String> {
        let name = text.get_ref();
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
        if !name.is_empty() && name.len() <= INTERFACE_MAX && name.bytes().all(plain) {
            return Some(name.clone());
        }
        self.fail(
            Problem::at(
                text.span(),
                format!("`{key}` cannot be `{}`", shorten(name)),
            )
            .hint("give the name of one of this host's interfaces, as `ip link` shows it"),
        );
        None
    }

    /// Complains that a key is not there.
    pub fn missing(&self, span: Range<usize>, what: &str, hint: &str) {
        self.fail(
            Problem::at(span, format!("{what} is missing"))
                .label("in this table")
                .hint(hint)
                .absence(),
        );
    }
}

pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the text can name a scenario or a target.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= 64
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(plain)
}
