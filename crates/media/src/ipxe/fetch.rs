//! Packages by apt, of a suite that the host does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::source::{PACKAGES, Package};
use crate::{MediaError, files};

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Debian's suite: `trixie`, `sid`.
    pub suite: String,
    /// Folder for apt's lists and the packages, made if needed. It may be thrown away.
    pub folder: PathBuf,
    /// apt's configuration of this host: `/etc/apt`.
    pub etc: PathBuf,
}

/// Fetches the packages that [`prepare`](super::prepare) takes parts from. The mirror is the first Debian one in the host's own
/// apt sources, and its keys are those the host trusts; the host's own lists and sources are left alone. apt refuses what is not
/// signed by these keys.
///
/// # Errors
/// The host has no Debian mirror, apt is not there, or it could not fetch or verify something.
pub fn fetch(options: &FetchOptions) -> Result<Vec<Package>, MediaError> {
    let FetchOptions { suite, folder, etc } = options;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if suite.is_empty() || !suite.chars().all(plain) || suite.starts_with('-') {
        return Err(failed(format!("`{suite}` is no name of a suite")));
    }
    let source = mirror(etc)?;
    files::create_dir(folder)?;
    let folder = folder
        .canonicalize()
        .map_err(MediaError::io("find", folder))?;
    let apt = Apt::new(&folder, suite, &source)?;
    apt.run(&["update", "-q"])?;
    let packages = folder.join("packages");
    // Older versions of the packages would be taken for these.
    if packages.exists() {
        fs::remove_dir_all(&packages).map_err(MediaError::io("empty", &packages))?;
    }
    files::create_dir(&packages)?;
    let mut arguments = vec!["download", "-q"];
    arguments.extend(PACKAGES);
    apt.run(&arguments)?;
    let mut paths: Vec<PathBuf> = fs::read_dir(&packages)
        .map_err(MediaError::io("list", &packages))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    paths.sort();
    if paths.len() < PACKAGES.len() {
        return Err(failed(format!("`{suite}` has no {}", PACKAGES.join(", "))));
    }
    let verified = Some(format!("signed archive, suite {suite}, checked by apt"));
    let package = |path| Package {
        path,
        verified: verified.clone(),
    };
    Ok(paths.into_iter().map(package).collect())
}

fn failed(message: String) -> MediaError {
    let program = "apt-get".to_owned();
    MediaError::Tool { program, message }
}

/// A Debian mirror as the host's sources name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    /// A keyring; `None`: all that apt trusts.
    keys: Option<String>,
}

/// The first mirror of Debian's main archive in the host's sources: `sources.list`, and both forms in `sources.list.d`.
fn mirror(etc: &Path) -> Result<Mirror, MediaError> {
    let mut paths = vec![etc.join("sources.list")];
    if let Ok(folder) = fs::read_dir(etc.join("sources.list.d")) {
        let mut more: Vec<PathBuf> = folder
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        more.sort();
        paths.extend(more);
    }
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let found = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => deb822(&text),
            Some("list") => one_line(&text),
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(failed(format!(
        "no source of packages below `{}` is a mirror of Debian; give packages with --deb",
        etc.display()
    )))
}

/// Whether it is Debian's main archive, by the path that mirrors keep, and not security's or somebody else's.
fn is_debian(uri: &str) -> bool {
    let scheme = [
        "http://", "https://", "file:/", "copy:/", "cdrom:", "mirror",
    ];
    scheme.iter().any(|scheme| uri.starts_with(scheme))
        && uri.trim_end_matches('/').ends_with("/debian")
}

/// deb822 stanzas (sources.list(5)).
fn deb822(text: &str) -> Option<Mirror> {
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
            lines.find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let off = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let uris = field("URIs").unwrap_or_default();
        if let (false, Some(uri)) = (off, uris.split_whitespace().find(|uri| is_debian(uri))) {
            let keys = field("Signed-By").filter(|keys| keys.starts_with('/'));
            return Some(Mirror {
                uri: uri.to_owned(),
                keys,
            });
        }
    }
    None
}

/// The one-line form: `deb [signed-by=/path] URI suite components`.
fn one_line(text: &str) -> Option<Mirror> {
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let uri = rest.split_whitespace().next().unwrap_or_default();
        if is_debian(uri) {
            let mut options = options.split_whitespace();
            let keys = options.find_map(|option| option.strip_prefix("signed-by="));
            let keys = keys.filter(|keys| keys.starts_with('/')).map(str::to_owned);
            return Some(Mirror {
                uri: uri.to_owned(),
                keys,
            });
        }
    }
    None
}

/// apt with lists, cache and sources of its own.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, suite: &str, mirror: &Mirror) -> Result<Self, MediaError> {
        for name in ["lists/partial", "cache/archives/partial"] {
            files::create_dir(&folder.join(name))?;
        }
        let signed = mirror
            .keys
            .as_ref()
            .map(|keys| format!("Signed-By: {keys}\n"));
        let sources = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\n{}",
            mirror.uri,
            signed.unwrap_or_default()
        );
        let list = folder.join("suite.sources");
        files::write_whole(&list, sources.as_bytes())?;
        // No package is installed, as far as this apt knows.
        files::write_whole(&folder.join("status"), b"")?;
        let place = |name: &str| folder.join(name).display().to_string();
        let options = vec![
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State={}", folder.display()),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::State::status={}", place("status")),
            format!("Dir::Cache={}", place("cache")),
            // The packages have no architecture, or are for PCs.
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            // The user for downloads cannot write into a folder of somebody else's.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "APT::Get::AllowUnauthenticated=false".to_owned(),
            "Acquire::AllowInsecureRepositories=false".to_owned(),
            // A warning of `update` would leave old lists in place.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        let folder = folder.to_owned();
        Ok(Self { folder, options })
    }

    fn run(&self, arguments: &[&str]) -> Result<(), MediaError> {
        let mut command = Command::new("apt-get");
        for option in &self.options {
            command.args(["-o", option]);
        }
        let packages = self.folder.join("packages");
        let place = if packages.is_dir() {
            &packages
        } else {
            &self.folder
        };
        let output = command.args(arguments).current_dir(place).output();
        let output = output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(
                "it is not installed here; fetch the packages elsewhere, and give them with --deb"
                    .to_owned(),
            ),
            _ => failed(error.to_string()),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("E:")).collect();
        let told = if lines.is_empty() {
            told.trim()
        } else {
            &lines.join("; ")
        };
        Err(failed(format!(
            "{}: {told}",
            arguments.first().unwrap_or(&"")
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn mirrors_of_debian_are_found_in_both_forms() {
        let text =
            "# a comment\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/debian/ stable main\n";
        let found = one_line(text).expect("a mirror");
        assert_eq!(found.uri, "http://a.example/debian/");
        assert_eq!(found.keys.as_deref(), Some("/k.gpg"));
        assert_eq!(
            one_line("deb https://b.example/apt x main\n#deb http://a.example/debian y main"),
            None
        );
        let text = "Types: deb\nURIs: http://c.example/debian-security\n\nTypes: deb\nEnabled: no\nURIs: http://d.example/debian\n\n\
                    Types: deb\n# URIs: http://e.example/debian\nURIs: http://f.example/debian\nSigned-By: /l.gpg\n";
        let found = deb822(text).expect("a mirror");
        assert_eq!(found.uri, "http://f.example/debian");
        assert_eq!(found.keys.as_deref(), Some("/l.gpg"));
    }
}
