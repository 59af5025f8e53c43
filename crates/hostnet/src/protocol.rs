//! What supervisor and holder say to each other: one JSON text per message, with descriptors beside it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bootgate_events::MacAddr;
use serde::{Deserialize, Serialize};

use crate::{
    ExitStatus, HostConfig, HostInfo, PortKind, PortMode, SegmentConfig, SegmentInfo, Udp6Options,
    UdpOptions,
};

/// A request with the number that its reply carries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) request: Request,
}

/// What the supervisor asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Segment(SegmentConfig),
    Port {
        segment: String,
        name: String,
        mode: PortMode,
    },
    Udp {
        segment: String,
        options: UdpOptions,
    },
    Tcp {
        segment: String,
        bind: SocketAddrV4,
    },
    Udp6 {
        segment: String,
        options: Udp6Options,
    },
    Tcp6 {
        segment: String,
        bind: SocketAddrV6,
    },
    Packet {
        segment: String,
        ethertype: u16,
    },
    Host(HostConfig),
    Spawn(SpawnRequest),
    Kill {
        pid: i32,
        signal: i32,
    },
}

/// A word of a command line or an environment: as text where it is UTF-8, which keeps messages short, else as bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        match word.into_string() {
            Ok(text) => Self::Text(text),
            Err(word) => Self::Bytes(word.into_vec()),
        }
    }
}

impl AsRef<OsStr> for Word {
    fn as_ref(&self) -> &OsStr {
        match self {
            Self::Text(text) => OsStr::new(text),
            Self::Bytes(bytes) => OsStr::from_bytes(bytes),
        }
    }
}

/// A program to start. The descriptors of the message are those of `fds` in order, then those of the standard
/// streams that are set.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    pub(crate) argv: Vec<Word>,
    pub(crate) env: Option<Vec<(Word, Word)>>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) fds: Vec<i32>,
    /// Which of standard input, output and error are set.
    pub(crate) stdio: [bool; 3],
    /// The host that it runs on; `None`: the servers'.
    pub(crate) host: Option<String>,
}

/// What the holder says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The namespaces stand; requests are served.
    Ready,
    /// The namespaces could not be set up; the holder ends.
    NotReady(Failure),
    /// The answer to a call.
    Reply {
        id: u64,
        result: Result<Reply, Failure>,
    },
    /// A spawned program ended.
    Exited { pid: i32, status: ExitStatus },
}

/// A call's result; the descriptors it speaks of come with the message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done,
    Segment(SegmentInfo),
    Host(HostInfo),
    Port { kind: PortKind },
    Socket,
    Packet { mac: MacAddr, ifindex: i32 },
    Spawned { pid: i32 },
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What was being done.
    pub(crate) action: String,
    /// The kernel's error number, where there is one.
    pub(crate) errno: Option<i32>,
    /// The error in words.
    pub(crate) error: String,
}

impl Failure {
    pub(crate) fn new(action: impl Into<String>, error: &io::Error) -> Self {
        Self {
            action: action.into(),
            errno: error.raw_os_error(),
            error: error.to_string(),
        }
    }

    /// A failure of no system call: the request itself is wrong.
    pub(crate) fn invalid(action: impl Into<String>, error: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            errno: None,
            error: error.into(),
        }
    }

    /// The error, with the kernel's number where there is one.
    pub(crate) fn source(&self) -> io::Error {
        match self.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(io::ErrorKind::InvalidInput, self.error.clone()),
        }
    }
}

/// Names the step that an I/O error came from.
pub(crate) trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(action(), &error))
    }
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(action(), &io::Error::from(error)))
    }
}
