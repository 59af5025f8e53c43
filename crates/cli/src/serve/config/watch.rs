//! Metrics and the log.

use std::net::SocketAddr;

use bootgate_scenario::file::{Checks, Problem, Text, shorten};
use tracing::level_filters::LevelFilter;

use super::wire::{LogWire, MetricsWire};

/// Where metrics are offered by plain HTTP.
pub(super) fn metrics(wire: &MetricsWire, checks: &Checks<'_>) -> Vec<SocketAddr> {
    let texts = wire.listen.as_ref();
    let texts = texts.map_or(&[][..], |texts| texts.get_ref());
    let mut all = Vec::new();
    for text in texts {
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if all.contains(&address) => {
                let message = format!("`listen` has `{address}` twice");
                checks.fail(Problem::at(text.span(), message).label("the second one"));
            }
            Ok(address) if address.port() != 0 => all.push(address),
            _ => {
                let shown = shorten(text.get_ref());
                let message = format!("`listen` has `{shown}`: not an address with a port");
                let hint = "like \"127.0.0.1:9568\" or \"[::1]:9568\"";
                checks.fail(Problem::at(text.span(), message).hint(hint));
            }
        }
    }
    all
}

/// How much the parts of the server say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLevels {
    /// What is not named below.
    pub(crate) level: LevelFilter,
    /// Parts by the names of their modules, each with its own level.
    pub(crate) parts: Vec<(&'static str, LevelFilter)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self {
            level: LevelFilter::WARN,
            parts: Vec::new(),
        }
    }
}

impl LogLevels {
    /// Whether the part with this module says something of this level.
    pub(crate) fn say(&self, module: &str, level: tracing::Level) -> bool {
        let within = |part: &str| {
            let rest = module.strip_prefix(part);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let part = self.parts.iter().find(|(part, _)| within(part));
        level <= part.map_or(self.level, |(_, level)| *level)
    }
}

pub(super) fn log(wire: &LogWire, checks: &Checks<'_>) -> LogLevels {
    let words = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
    ];
    let read = |key: &str, text: &Option<Text>| {
        let text = text.as_ref()?;
        checks.word(key, text, &words)
    };
    let parts = [
        (
            "dhcp",
            &wire.dhcp,
            &["bootgate_server::dhcp", "bootgate_server::dhcp6"][..],
        ),
        ("tftp", &wire.tftp, &["bootgate_server::tftp"]),
        ("http", &wire.http, &["bootgate_server::http"]),
        ("lab", &wire.lab, &["bootgate_server::lab"]),
        ("store", &wire.store, &["bootgate_store"]),
        (
            "api",
            &wire.api,
            &[
                "bootgate::api",
                "bootgate_server::door",
                "bootgate_server::control",
            ],
        ),
    ];
    let mut levels = LogLevels::default();
    levels.level = read("level", &wire.level).unwrap_or(levels.level);
    for (key, text, modules) in parts {
        if let Some(level) = read(key, text) {
            levels
                .parts
                .extend(modules.iter().map(|module| (*module, level)));
        }
    }
    levels
}
