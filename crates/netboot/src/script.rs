//! Boot scripts for iPXE and configurations of other loaders, rendered from the templates in `ipxe-scripts/`.
//!
//! A template is an iPXE script with `{{name}}` where a value goes. iPXE cuts a script into lines, a line into words, and
//! commands at the words `||`, `&&` and `;`; a word that begins with `#` begins a comment (its `src/core/exec.c`
//! and `src/image/script.c`). So a value that has none of those can add words to its line and nothing else.

mod loader;
mod uboot;

use bootgate_events::AttemptId;

pub use loader::{GRUB_SEARCH, LinuxBoot, LoaderBoot, LoaderKind, LocalDrive, render_loader};
pub use uboot::uboot_start;

/// The template of [`render_ipxe`].
pub const BOOT_TEMPLATE: &str = include_str!("../../../ipxe-scripts/boot.ipxe");
/// The template of [`render_autoexec`].
pub const AUTOEXEC_TEMPLATE: &str = include_str!("../../../ipxe-scripts/autoexec.ipxe");
/// The template of [`render_autoexec6`].
pub const AUTOEXEC6_TEMPLATE: &str = include_str!("../../../ipxe-scripts/autoexec-ipv6.ipxe");
/// The template of [`render_exit`].
pub const EXIT_TEMPLATE: &str = include_str!("../../../ipxe-scripts/exit.ipxe");
/// The template of [`render_local`].
pub const LOCAL_TEMPLATE: &str = include_str!("../../../ipxe-scripts/local.ipxe");
/// The template of [`render_refused`].
pub const REFUSED_TEMPLATE: &str = include_str!("../../../ipxe-scripts/refused.ipxe");
/// The template of [`render_install`].
pub const INSTALL_TEMPLATE: &str = include_str!("../../../ipxe-scripts/install.ipxe");

/// What the boot script of a machine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpxeScript {
    /// URL of the kernel.
    pub kernel_url: String,
    /// The initial RAM disks, in order.
    pub initrds: Vec<Initrd>,
    /// The operator's part of the kernel command line. What the agent needs is added to it. May name iPXE's
    /// settings (`${uuid}`).
    pub cmdline: String,
    /// The attempt's nonce.
    pub nonce: AttemptId,
    /// Base URL of the server as the agent is to use it: `http://10.77.0.1`, with a port where it is not 80.
    pub server_url: String,
}

/// One initial RAM disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// Its name for the loader; a UEFI kernel finds it by `initrd=NAME`. Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Where it is fetched from.
    pub url: String,
}

/// A script cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The template asks for a name that has no value.
    #[error("render boot script: template line `{line}` names unknown `{name}`")]
    UnknownName {
        /// Line of the template, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A `{{` has no `}}` on its line.
    #[error("render boot script: template line `{line}` has `{{{{` without `}}}}`")]
    Unclosed {
        /// Line of the template, from 1.
        line: usize,
    },
    /// A value could change the script's meaning.
    #[error("render boot script: {what} `{value}` {problem}")]
    BadValue {
        /// Which value.
        what: &'static str,
        /// The value, control characters escaped.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Renders the script that boots a machine into its live environment (`ipxe-scripts/boot.ipxe`).
///
/// # Errors
/// A value could change the script's meaning: control characters, iPXE command separators, blanks in a URL.
pub fn render_ipxe(script: &IpxeScript) -> Result<String, ScriptError> {
    render_custom(BOOT_TEMPLATE, script)
}

/// Renders the script that iPXE runs by its name, `autoexec.ipxe`, from beside its UEFI programs, and that finds the
/// machine's own script (`ipxe-scripts/autoexec.ipxe`). `port` is the HTTP server's.
///
/// # Errors
/// None with the script as it is; a changed one may have a name that is not known.
pub fn render_autoexec(port: u16) -> Result<String, ScriptError> {
    let port = match port {
        80 => String::new(),
        port => format!(":{port}"),
    };
    fill(AUTOEXEC_TEMPLATE, &[("port", port)])
}

/// Renders the script that leads iPXE to its machine's script over IPv6 (`ipxe-scripts/autoexec-ipv6.ipxe`).
///
/// # Errors
/// The URL is not one word, or could change the script's meaning.
pub fn render_autoexec6(script_url: &str) -> Result<String, ScriptError> {
    let values = [("script_url", url("script URL", script_url)?)];
    fill(AUTOEXEC6_TEMPLATE, &values)
}

/// Renders the script that hands a machine back to its firmware, to boot from disk (`ipxe-scripts/exit.ipxe`).
///
/// # Errors
/// `reason` has control characters or iPXE command separators.
pub fn render_exit(reason: &str) -> Result<String, ScriptError> {
    let reason = words("reason", reason)?;
    fill(EXIT_TEMPLATE, &[("reason", reason)])
}

/// Renders the script by which a machine boots its own disk (`ipxe-scripts/local.ipxe`): UEFI goes on with its boot
/// order, a BIOS starts `drive` (128 is 0x80, the first disk).
///
/// # Errors
/// `reason` has control characters or iPXE command separators.
pub fn render_local(reason: &str, drive: u8) -> Result<String, ScriptError> {
    let values = [
        ("reason", words("reason", reason)?),
        ("drive", format!("{drive:#04x}")),
    ];
    fill(LOCAL_TEMPLATE, &values)
}

/// Renders the script that says why a machine may not boot, and stops it (`ipxe-scripts/refused.ipxe`).
///
/// # Errors
/// `reason` has control characters or iPXE command separators.
pub fn render_refused(reason: &str) -> Result<String, ScriptError> {
    fill(REFUSED_TEMPLATE, &[("reason", words("reason", reason)?)])
}

/// Renders the script that boots a vendor's installer (`ipxe-scripts/install.ipxe`).
///
/// # Errors
/// As for [`render_custom`].
pub fn render_install(script: &IpxeScript) -> Result<String, ScriptError> {
    render_custom(INSTALL_TEMPLATE, script)
}

/// Renders an operator's own template for a machine of a lab. Beside the names of [`render_custom`] it knows those
/// in `more`; their values may be any number of words.
///
/// # Errors
/// As for [`render_custom`].
pub fn render_template(
    template: &str,
    script: &IpxeScript,
    more: &[(String, String)],
) -> Result<String, ScriptError> {
    let mut values = values(script)?;
    for (name, value) in more {
        values.push((name, words("value", value)?));
    }
    fill(template, &values)
}

/// Renders an operator's own template. It knows the names that `ipxe-scripts/boot.ipxe` lists, and only them; comment
/// lines are taken as they are.
///
/// # Errors
/// Unknown names, unclosed braces, values that could change the script's meaning.
pub fn render_custom(template: &str, script: &IpxeScript) -> Result<String, ScriptError> {
    fill(template, &values(script)?)
}

/// The names of [`render_custom`] and their values.
fn values(script: &IpxeScript) -> Result<Vec<(&str, String)>, ScriptError> {
    let mut args = Vec::new();
    let mut lines = Vec::new();
    for initrd in &script.initrds {
        let name = name("initrd name", &initrd.name)?;
        let url = url("initrd URL", &initrd.url)?;
        args.push(format!("initrd={name}"));
        lines.push(format!("initrd --name {name} {url} || goto initrd_failed"));
    }
    Ok(vec![
        ("kernel_url", url("kernel URL", &script.kernel_url)?),
        ("initrd_lines", lines.join("\n")),
        ("initrd_args", args.join(" ")),
        ("cmdline", words("kernel command line", &script.cmdline)?),
        ("nonce", name("nonce", script.nonce.as_str())?),
        ("server_url", url("server URL", &script.server_url)?),
    ])
}

/// Replaces `{{name}}` by its value, once: what a value contains is not looked at again.
fn fill(template: &str, values: &[(&str, String)]) -> Result<String, ScriptError> {
    let mut rendered = String::with_capacity(template.len() + 512);
    for (index, text) in template.lines().enumerate() {
        let line = index + 1;
        let mut rest = text;
        let comment = text.trim_start().starts_with('#');
        while let Some((before, after)) = rest.split_once("{{").filter(|_| !comment) {
            let (name, after) = after
                .split_once("}}")
                .ok_or(ScriptError::Unclosed { line })?;
            let name = name.trim();
            let value = values.iter().find(|(known, _)| *known == name);
            let (_, value) = value.ok_or_else(|| ScriptError::UnknownName {
                line,
                name: name.to_owned(),
            })?;
            rendered.push_str(before);
            rendered.push_str(value);
            rest = after;
        }
        rendered.push_str(rest);
        rendered.push('\n');
    }
    Ok(rendered)
}

/// Any number of words.
fn words(what: &'static str, value: &str) -> Result<String, ScriptError> {
    let problem = if value.chars().any(char::is_control) {
        "has a line break or another control character"
    } else if value
        .split_whitespace()
        .any(|word| matches!(word, "||" | "&&" | ";"))
    {
        "has an iPXE command separator as a word"
    } else if value.split_whitespace().any(|word| word.starts_with('#')) {
        "has a word that begins with `#`, an iPXE comment"
    } else {
        return Ok(value.to_owned());
    };
    Err(bad(what, value, problem))
}

/// One word that is not an option.
fn url(what: &'static str, value: &str) -> Result<String, ScriptError> {
    let value = words(what, value)?;
    if value.is_empty() || value.contains(char::is_whitespace) {
        Err(bad(what, &value, "is not one word"))
    } else if value.starts_with('-') {
        Err(bad(what, &value, "begins like an option"))
    } else {
        Ok(value)
    }
}

/// A name of the characters that mean nothing anywhere.
fn name(what: &'static str, value: &str) -> Result<String, ScriptError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if value.is_empty() || value.starts_with('-') || !value.chars().all(plain) {
        return Err(bad(
            what,
            value,
            "is not a name of letters, digits, `.`, `_` and `-`",
        ));
    }
    Ok(value.to_owned())
}

fn bad(what: &'static str, value: &str, problem: &'static str) -> ScriptError {
    let value = value.escape_debug().to_string();
    ScriptError::BadValue {
        what,
        value,
        problem,
    }
}
