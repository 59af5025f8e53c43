//! Boot scripts for iPXE, rendered from the templates in `ipxe-scripts/`.

use bootgate_events::AttemptId;

/// What the boot script of a machine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpxeScript {
    /// URL of the kernel.
    pub kernel_url: String,
    /// The initial RAM disks, in order.
    pub initrds: Vec<Initrd>,
    /// The operator's part of the kernel command line. What the agent needs is added to it.
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
        what: String,
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
    let _ = script;
    Ok(String::new())
}

/// Renders the script that hands a machine back to its firmware, to boot from disk (`ipxe-scripts/exit.ipxe`).
///
/// # Errors
/// `reason` has control characters or iPXE command separators.
pub fn render_exit(reason: &str) -> Result<String, ScriptError> {
    let _ = reason;
    Ok(String::new())
}

/// Renders an operator's own template. The names of [`script_values`] are known, and only they.
///
/// # Errors
/// Unknown names, unclosed braces, values that could change the script's meaning.
pub fn render_custom(template: &str, script: &IpxeScript) -> Result<String, ScriptError> {
    let _ = (template, script);
    Ok(String::new())
}
