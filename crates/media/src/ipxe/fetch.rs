//! Packages by apt, of a suite that the host does not have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::source::{PACKAGES, Package};
use crate::{MediaError, digest, files};

/// What apt has verified, as `sha256sum` writes it, beside the packages.
const RECORD: &str = "SHA256SUMS";

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Debian's suite: `trixie`, `sid`.
    pub suite: String,
    /// Folder for apt's lists and the packages, made if needed. Packages that an earlier call left there are taken, and nothing
    /// is fetched; whoever wants newer ones throws it away.
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
    files::create_dir(folder)?;
    let folder = folder.canonicalize();
    let folder = folder.map_err(MediaError::io("find", &options.folder))?;
    // One at a time: apt itself gives up at once where another one works in the same folder.
    let lock = fs::File::open(&folder).map_err(MediaError::io("open", &folder))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| MediaError::io("lock", &folder)(error.into()))?;
    let packages = folder.join("packages");
    let names = match kept(&packages) {
        Some(names) => names,
        None => download(&folder, suite, &mirror(etc)?)?,
    };
    let verified = format!("archive of suite {suite}, signature checked by apt");
    let package = |name| Package {
        path: packages.join(name),
        verified: Some(verified.clone()),
    };
    Ok(names.into_iter().map(package).collect())
}

/// Fetches the packages; their names.
fn download(folder: &Path, suite: &str, mirror: &Mirror) -> Result<Vec<String>, MediaError> {
    let packages = folder.join("packages");
    // apt says nothing of files that are there already.
    if packages.exists() {
        fs::remove_dir_all(&packages).map_err(MediaError::io("empty", &packages))?;
    }
    files::create_dir(&packages)?;
    let apt = Apt::new(folder, suite, mirror)?;
    apt.run(&["update", "-q"])?;
    let with = |arguments: &[&'static str]| [arguments, &PACKAGES[..]].concat();
    // Says the files' names: `'URI' NAME SIZE HASH` on each line.
    let told = apt.run(&with(&["download", "-q", "--print-uris"]))?;
    apt.run(&with(&["download", "-q"]))?;
    let names = told.lines().filter(|line| line.starts_with('\''));
    let names = names.filter_map(|line| line.split_whitespace().nth(1));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.len() < PACKAGES.len() {
        return Err(failed(format!("`{suite}` has no {}", PACKAGES.join(", "))));
    }
    let mut record = String::new();
    for name in &names {
        let sha256 = digest::sha256_file(&packages.join(name))?;
        record += &format!("{sha256}  {name}\n");
    }
    files::write_whole(&packages.join(RECORD), record.as_bytes())?;
    Ok(names)
}

/// The packages of the last time, if they are still what apt has verified.
fn kept(packages: &Path) -> Option<Vec<String>> {
    let record = fs::read_to_string(packages.join(RECORD)).ok()?;
    let mut names = Vec::new();
    for line in record.lines() {
        let (sha256, name) = line.split_once("  ")?;
        let found = digest::sha256_file(&packages.join(name)).ok()?;
        if found.to_string() != sha256 {
            return None;
        }
        names.push(name.to_owned());
    }
    (names.len() == PACKAGES.len()).then_some(names)
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
    /// Where packages go.
    packages: PathBuf,
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
        let packages = folder.join("packages");
        Ok(Self { packages, options })
    }

    /// Runs apt in the packages' folder; what it printed.
    fn run(&self, arguments: &[&str]) -> Result<String, MediaError> {
        let mut command = Command::new("apt-get");
        for option in &self.options {
            command.args(["-o", option]);
        }
        let output = command.args(arguments).current_dir(&self.packages).output();
        let output = output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(
                "it is not installed here; fetch the packages elsewhere, and give them with --deb"
                    .to_owned(),
            ),
            _ => failed(error.to_string()),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("E:")).collect();
        let told = if errors.is_empty() {
            told.trim().to_owned()
        } else {
            errors.join("; ")
        };
        let what = arguments.first().unwrap_or(&"");
        Err(failed(format!(
            "{what}: {told}; without a network, give packages with --deb"
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
