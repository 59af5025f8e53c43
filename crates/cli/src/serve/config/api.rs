//! The control interface on the network.

use std::net::SocketAddr;
use std::time::Duration;

use bootgate_scenario::file::{Checks, Problem, Reader, Spanned, Text, shorten};
use bootgate_server::door::{DoorConfig, TlsFiles};

use super::number;
use super::wire::{Number, Texts};

/// Port where an address has none.
const PORT: u16 = 8443;

/// Longest time that a connection may be idle: an hour.
const IDLE_MS: u64 = 3_600_000;

/// What stands in `[api]`.
#[derive(Default)]
pub(super) struct ApiWire {
    listen: Texts,
    certificate: Option<Text>,
    key: Option<Text>,
    tls: Option<Spanned<bool>>,
    insecure: Option<Spanned<bool>>,
    connections: Option<Number>,
    connections_per_client: Option<Number>,
    requests_per_second: Option<Number>,
    idle: Option<Text>,
}

impl ApiWire {
    pub(super) fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            listen: table.texts(
                "listen",
                "an address like \"10.0.0.1:8443\", or a list of them",
            ),
            certificate: table.text("certificate", "/etc/bootgate/api.crt"),
            key: table.text("key", "/etc/bootgate/api.key"),
            tls: table.flag("tls"),
            insecure: table.flag("insecure"),
            connections: table.number("connections", "256"),
            connections_per_client: table.number("connections_per_client", "32"),
            requests_per_second: table.number("requests_per_second", "50"),
            idle: table.text("idle", "30s"),
        };
        table.finish();
        wire
    }
}

/// Where and how the control interface is offered; nowhere where the file does not say so.
pub(super) fn api(wire: &ApiWire, checks: &Checks<'_>) -> Option<DoorConfig> {
    let usual = DoorConfig::default();
    let idle = match &wire.idle {
        Some(text) => Duration::from_millis(checks.duration_within("idle", text, IDLE_MS)?),
        None => usual.idle,
    };
    let config = DoorConfig {
        listen: listen(wire, checks)?,
        tls: tls(wire, checks)?,
        connections: number(
            "connections",
            wire.connections.as_ref(),
            1..=100_000,
            usual.connections,
            checks,
        ),
        connections_per_client: number(
            "connections_per_client",
            wire.connections_per_client.as_ref(),
            1..=100_000,
            usual.connections_per_client,
            checks,
        ),
        requests_per_second: number(
            "requests_per_second",
            wire.requests_per_second.as_ref(),
            0..=100_000,
            usual.requests_per_second,
            checks,
        ),
        idle,
    };
    Some(config)
}

fn listen(wire: &ApiWire, checks: &Checks<'_>) -> Option<Vec<SocketAddr>> {
    let texts = wire.listen.as_ref();
    let texts = texts.map_or(&[][..], |texts| texts.get_ref());
    let mut addresses = Vec::new();
    for text in texts {
        let address = address(text, checks)?;
        if addresses.contains(&address) {
            let message = format!("`{address}` is there twice");
            checks.fail(Problem::at(text.span(), message).hint("take one away"));
            return None;
        }
        open_in_the_clear(wire, text, address, checks)?;
        addresses.push(address);
    }
    Some(addresses)
}

fn address(text: &Text, checks: &Checks<'_>) -> Option<SocketAddr> {
    let written = text.get_ref();
    let parsed = written
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| Some(SocketAddr::new(written.parse().ok()?, PORT)));
    if parsed.is_none() {
        let message = format!("`listen` is `{}`: not an address", shorten(written));
        let hint = "give an IP address and a port: \"10.0.0.1:8443\", \"[fd00:77::1]:8443\", \"127.0.0.1:8443\"";
        checks.fail(Problem::at(text.span(), message).hint(hint));
    }
    parsed
}

/// Passwords and tokens cross no network in the clear unless somebody says that they want that.
fn open_in_the_clear(
    wire: &ApiWire,
    text: &Text,
    address: SocketAddr,
    checks: &Checks<'_>,
) -> Option<()> {
    let clear = wire.tls.as_ref().is_some_and(|tls| !tls.get_ref());
    let insecure = wire.insecure.as_ref().is_some_and(|flag| *flag.get_ref());
    if !clear || insecure || address.ip().to_canonical().is_loopback() {
        return Some(());
    }
    let message = format!("`{address}` would show passwords and tokens to the network");
    checks.fail(Problem::at(text.span(), message).hint(
        "give a certificate and its key, listen on 127.0.0.1, or say insecure = true where something else encrypts",
    ));
    None
}

/// The outer `None`: it is wrong, which is told.
fn tls(wire: &ApiWire, checks: &Checks<'_>) -> Option<Option<TlsFiles>> {
    let clear = wire.tls.as_ref().filter(|tls| !tls.get_ref());
    let (certificate, key) = (wire.certificate.as_ref(), wire.key.as_ref());
    if let (Some(clear), Some(_)) = (clear, certificate.or(key)) {
        let message = "`tls = false` uses no certificate";
        checks.fail(Problem::at(clear.span(), message).hint("take one of the two away"));
        return None;
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let (certificate_path, _) = checks.regular("certificate", certificate)?;
            let (key_path, _) = checks.regular("key", key)?;
            let files = TlsFiles {
                certificate: certificate_path,
                key: key_path,
            };
            if let Err(error) = files.check() {
                let problem = Problem::at(certificate.span(), error.to_string());
                checks.fail(problem.hint("both are PEM files, and the key is the certificate's"));
                return None;
            }
            Some(Some(files))
        }
        (Some(text), None) | (None, Some(text)) => {
            let lacks = if certificate.is_some() {
                "key"
            } else {
                "certificate"
            };
            let message = format!("`{lacks}` is missing");
            checks.fail(Problem::at(text.span(), message).hint("TLS needs both of them"));
            None
        }
        (None, None) => match &wire.listen {
            Some(listen) if clear.is_none() && !listen.get_ref().is_empty() => {
                let message = "`certificate` and `key` are missing";
                checks.fail(Problem::at(listen.span(), message).hint(
                    "add both, or tls = false for an address of this host alone: \"127.0.0.1:8443\"",
                ));
                None
            }
            _ => Some(None),
        },
    }
}
