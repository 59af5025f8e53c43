//! What operators ask a boot server: requests and answers of the control interface.
//!
//! It is HTTP with JSON bodies: on a socket that only the server's user can open, and, where the configuration says so,
//! on the network, for users and tokens ([`crate::access`]). Times are [`UnixMicros`]. A request that fails is answered
//! by a [`Problem`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bootgate_events::MacAddr;
use serde::{Deserialize, Serialize};

use crate::{AfterFlash, DiskSelector, LocalBoot, UnixMicros};

/// Name of the socket in the folder of the server's state.
pub const SOCKET: &str = "control.sock";

/// Content type of answers that are many JSON values, one on each line.
pub const JSON_LINES: &str = "application/x-ndjson";

/// Content type of server-sent events, which can be followed from where they broke off.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Longest name of a machine, in bytes.
pub const NAME_MAX: usize = 63;

/// Why a request was not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// What went wrong, a lowercase fragment.
    pub error: String,
    /// What to do; empty where nothing is known.
    #[serde(default)]
    pub hint: String,
}

/// A boot mode, as it is asked for: what goes with it depends on the mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModeOrder {
    /// `local`, `flash-once`, `flash-always`, `inventory`, `install` or `script`.
    #[cfg_attr(
        feature = "schema",
        schemars(extend("enum" = ["local", "flash-once", "flash-always", "inventory", "install", "script"]))
    )]
    pub mode: String,
    /// The image, for the modes that flash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The disk, for the modes that flash; at least one thing in it must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSelector>,
    /// What the machine does after a flash; `reboot` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterFlash>,
    /// The installer, for `install`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installer: Option<String>,
    /// The script, for `script`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

/// The body of `PATCH` [`paths::machine`]: what to change. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineUpdate {
    /// A name; the empty one takes the name away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A boot mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<ModeOrder>,
    /// How it boots its own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalBoot>,
    /// Labels to set; `null` takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Lets a half-written disk boot.
    #[serde(default)]
    pub force: bool,
}

/// The body of `POST` [`paths::arm`]: flash a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ArmFlash {
    /// The image.
    pub image: String,
    /// The disk; at least one thing in it must be given.
    pub disk: DiskSelector,
    /// What the machine does after the flash; `reboot` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterFlash>,
    /// At each power-on, not once.
    #[serde(default)]
    pub always: bool,
}

/// The body of `POST` [`paths::wake`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WakeOrder {
    /// The interface to wake it on; `None`: every interface that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// The answer to a [`WakeOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Woken {
    /// The machine.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mac: MacAddr,
    /// The interfaces it was woken on.
    pub interfaces: Vec<String>,
}

/// The answer to a request that forgets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Forgotten {
    /// Whether it was known before.
    pub known: bool,
}

/// The body of `POST` [`paths::BACKUP`], and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The file to write, an absolute path on the server's host. It must not exist.
    pub path: String,
}

/// The answer to `GET` [`paths::STATUS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Version of the program that answers.
    pub version: String,
    /// Machines known.
    pub machines: u64,
    /// Attempts without a verdict.
    pub open_attempts: u64,
    /// Leases that have not ended.
    pub leases: u64,
    /// The server that runs; `None` where none does and the state was read from its folder.
    pub server: Option<ServerStatus>,
}

/// A running server's part of [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerStatus {
    /// When it started.
    pub started: UnixMicros,
    /// Where it listens.
    pub listening: Vec<Listening>,
    /// Packets and requests left without an answer.
    pub dropped: Vec<Dropped>,
    /// Events that could not be kept.
    pub lost_events: u64,
    /// DHCP servers on the segments that are not this one.
    pub foreign_servers: Vec<ForeignServer>,
    /// What the storage said when it last failed, where it has not worked since.
    pub storage_error: Option<String>,
    /// Whether it stops, and only what is under way goes on.
    #[serde(default)]
    pub stopping: bool,
    /// How its configuration was last read again, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<ReloadStatus>,
}

/// How the configuration was last read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReloadStatus {
    /// When.
    pub at: UnixMicros,
    /// Why it was refused, and the server goes on with the one before; `None` where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Problem>,
}

/// The answer to `POST` [`paths::RELOAD`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// A line for each thing that changed.
    pub changed: Vec<String>,
}

/// A service of a server on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listening {
    /// The interface.
    pub interface: String,
    /// `dhcp`, `proxy-dhcp`, `tftp`, `http`, `ra` or `dhcp6`.
    pub service: String,
    /// The address and port.
    pub address: String,
}

/// How often something was left without an answer for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dropped {
    /// The service.
    pub service: String,
    /// The reason, in kebab case.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A DHCP server that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForeignServer {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, where it is known.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub mac: Option<MacAddr>,
    /// The interface it was noticed on.
    pub interface: String,
    /// What gave it away.
    pub by: String,
    /// When it was noticed last.
    pub last_seen: UnixMicros,
}

/// A machine as an operator names it: by its hardware address in any common notation, or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineRef {
    /// Its hardware address.
    Mac(MacAddr),
    /// Its name.
    Name(String),
}

impl MachineRef {
    /// Reads a hardware address as `52:54:00:12:34:56`, `52-54-00-12-34-56`, `5254.0012.3456` or `525400123456`, in
    /// either case; everything else is a name.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        match any_notation(text) {
            Some(mac) => MachineRef::Mac(mac),
            None => MachineRef::Name(text.to_owned()),
        }
    }

    /// Whether it is a name.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self, MachineRef::Name(_))
    }

    /// What is wrong with a name that somebody wants to give a machine; `None` where nothing is.
    #[must_use]
    pub fn bad_name(name: &str) -> Option<&'static str> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > NAME_MAX {
            Some("a name has 1 to 63 letters")
        } else if !name.bytes().all(letter) || !name.as_bytes()[0].is_ascii_alphanumeric() {
            Some(
                "a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit",
            )
        } else if any_notation(name).is_some() {
            Some("the name reads as a hardware address")
        } else {
            None
        }
    }
}

impl fmt::Display for MachineRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineRef::Mac(mac) => mac.fmt(f),
            MachineRef::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for MachineRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::read(text))
    }
}

/// A hardware address in any of the notations that switches, systems and labels print.
fn any_notation(text: &str) -> Option<MacAddr> {
    let groups = |separator: char, count: usize, width: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let right = parts.len() == count && parts.iter().all(|part| part.len() == width);
        right.then(|| parts.concat())
    };
    let digits = groups(':', 6, 2)
        .or_else(|| groups('-', 6, 2))
        .or_else(|| groups('.', 3, 4))
        .or_else(|| groups('-', 3, 4))
        .or_else(|| (text.len() == 12).then(|| text.to_owned()))?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 6];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(MacAddr(bytes))
}

/// Paths of the control interface.
pub mod paths {
    /// `GET` with `?mode=&label=K=V&name=`: [`Machine`](crate::Machine)s.
    pub const MACHINES: &str = "/api/v1/machines";
    /// `GET` with `?machine=`: [`Lease`](crate::Lease)s.
    pub const LEASES: &str = "/api/v1/leases";
    /// `GET` with `?machine=&open=&before=&limit=`: [`Attempt`](crate::Attempt)s, latest first.
    pub const ATTEMPTS: &str = "/api/v1/attempts";
    /// `GET` with `?machine=`: every event from now on, one JSON value on each line, until the server stops.
    pub const EVENTS: &str = "/api/v1/events";
    /// `GET` with `?machine=&as=`: an [`Explanation`](crate::Explanation).
    pub const EXPLAIN: &str = "/api/v1/explain";
    /// `GET`: a [`Status`](super::Status).
    pub const STATUS: &str = "/api/v1/status";
    /// `POST`: reads the configuration again; [`Reloaded`](super::Reloaded).
    pub const RELOAD: &str = "/api/v1/reload";
    /// `POST` [`Backup`](super::Backup): writes a copy of everything that is stored.
    pub const BACKUP: &str = "/api/v1/backup";

    /// `GET`: the OpenAPI document of all this.
    pub const OPENAPI: &str = "/api/v1/openapi.json";
    /// `GET`: [`User`](crate::access::User)s; `POST` [`NewUser`](crate::access::NewUser): the [`User`](crate::access::User).
    pub const USERS: &str = "/api/v1/users";
    /// `GET`: [`Token`](crate::access::Token)s; `POST` [`NewToken`](crate::access::NewToken): a
    /// [`MadeToken`](crate::access::MadeToken).
    pub const TOKENS: &str = "/api/v1/tokens";
    /// `POST` [`Login`](crate::access::Login): a [`Session`](crate::access::Session). Only over the network.
    pub const LOGIN: &str = "/api/v1/login";
    /// `POST` [`LoginForToken`](crate::access::LoginForToken): a [`MadeToken`](crate::access::MadeToken). Only over the network.
    pub const LOGIN_TOKEN: &str = "/api/v1/login/token";
    /// `POST`: ends the session. Only over the network.
    pub const LOGOUT: &str = "/api/v1/logout";
    /// `GET`: a [`Session`](crate::access::Session): who asks. Only over the network.
    pub const WHOAMI: &str = "/api/v1/whoami";

    /// `PATCH` [`UserChange`](crate::access::UserChange): the [`User`](crate::access::User); `DELETE`:
    /// [`Forgotten`](super::Forgotten).
    #[must_use]
    pub fn user(name: &str) -> String {
        format!("{USERS}/{}", escaped(name))
    }

    /// `DELETE`: [`Forgotten`](super::Forgotten).
    #[must_use]
    pub fn token(name: &str) -> String {
        format!("{TOKENS}/{}", escaped(name))
    }

    /// `GET`, `PATCH` [`MachineUpdate`](super::MachineUpdate) or `DELETE` ([`Forgotten`](super::Forgotten)); `who` is
    /// a hardware address or a name.
    #[must_use]
    pub fn machine(who: &str) -> String {
        format!("{MACHINES}/{}", escaped(who))
    }

    /// `POST` [`ArmFlash`](super::ArmFlash): the [`Machine`](crate::Machine) as it is then.
    #[must_use]
    pub fn arm(who: &str) -> String {
        format!("{}/arm", machine(who))
    }

    /// `POST`: a machine that is refused since its flashes failed may try again.
    #[must_use]
    pub fn retry(who: &str) -> String {
        format!("{}/retry", machine(who))
    }

    /// `POST` [`WakeOrder`](super::WakeOrder): [`Woken`](super::Woken).
    #[must_use]
    pub fn wake(who: &str) -> String {
        format!("{}/wake", machine(who))
    }

    /// `DELETE`: [`Forgotten`](super::Forgotten).
    #[must_use]
    pub fn lease(ip: &str) -> String {
        format!("{LEASES}/{}", escaped(ip))
    }

    /// `GET`: an [`Attempt`](crate::Attempt).
    #[must_use]
    pub fn attempt(id: &str) -> String {
        format!("{ATTEMPTS}/{}", escaped(id))
    }

    /// `GET` with `?from=&follow=`: its events, one JSON value on each line; with `follow=true` new ones too, until
    /// the attempt has its verdict.
    #[must_use]
    pub fn events(id: &str) -> String {
        format!("{}/events", attempt(id))
    }

    /// The text as one segment of a path, or one value of a query (RFC 3986, section 2.1).
    #[must_use]
    pub fn escaped(text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_in_every_common_notation() {
        let mac = MachineRef::Mac(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xab]));
        for text in [
            "52:54:00:12:34:ab",
            "52-54-00-12-34-AB",
            "5254.0012.34ab",
            "5254-0012-34ab",
            "5254001234AB",
            " 52:54:00:12:34:ab\n",
        ] {
            assert_eq!(MachineRef::read(text), mac, "{text}");
        }
        for text in [
            "52:54:00:12:34",
            "52:54-00:12:34:ab",
            "rack1-slot2",
            "52:54:00:12:34:ag",
            "",
            "5254001234é",
        ] {
            assert_eq!(
                MachineRef::read(text),
                MachineRef::Name(text.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_is_never_taken_for_an_address() {
        assert_eq!(MachineRef::bad_name("rack1.slot-2_a"), None);
        for bad in [
            "",
            "-a",
            "a b",
            "a/b",
            "deadbeefcafe",
            "5254.0012.3456",
            "ä",
        ] {
            assert!(MachineRef::bad_name(bad).is_some(), "{bad}");
        }
        assert!(MachineRef::bad_name(&"a".repeat(64)).is_some());
    }

    #[test]
    fn path_segments_cannot_break_out() {
        assert_eq!(
            paths::machine("a/../b?c"),
            "/api/v1/machines/a%2F..%2Fb%3Fc"
        );
        assert_eq!(paths::lease("fd00::1"), "/api/v1/leases/fd00::1");
    }
}
