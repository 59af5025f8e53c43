//! Requests and their options.

use std::time::Duration;

use super::packet::{ErrorCode, RRQ, Refusal, WRQ, oack};
use super::path::{PathError, RelPath, sanitize_path};

/// Largest window in blocks. With more than half of the block numbers in flight, an old acknowledgement could not be
/// told from a new one.
const WINDOW_MAX: u16 = 32767;

/// What a server allows a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest block in bytes, 512 to 65464. The interface's MTU less 32 (IPv4 20, UDP 8, TFTP 4) avoids fragments,
    /// which many boot ROMs cannot put together.
    pub max_block: u16,
    /// Largest window in bytes: window size times block size. A window of one block is always allowed.
    pub max_window_bytes: usize,
    /// Time until the first retransmission, where the client asks for none.
    pub first_timeout: Duration,
    /// Longest time between two retransmissions; a longer one that the client asked for is kept.
    pub max_timeout: Duration,
    /// Retransmissions without any progress before a transfer is given up.
    pub max_retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_block: 1468,
            max_window_bytes: 256 << 10,
            first_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(8),
            max_retries: 5,
        }
    }
}

/// An option that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionKind {
    /// `blksize` (RFC 2348).
    BlockSize,
    /// `tsize` (RFC 2349).
    TransferSize,
    /// `timeout` (RFC 2349).
    Timeout,
    /// `windowsize` (RFC 7440).
    WindowSize,
}

impl OptionKind {
    fn parse(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], OptionKind); 4] = [
            (b"blksize", OptionKind::BlockSize),
            (b"tsize", OptionKind::TransferSize),
            (b"timeout", OptionKind::Timeout),
            (b"windowsize", OptionKind::WindowSize),
        ];
        let known = NAMES.iter().find(|(n, _)| name.eq_ignore_ascii_case(n));
        known.map(|(_, kind)| *kind)
    }

    /// Whether the RFC of the option allows this value. An option with another value is left out of the OACK, as if
    /// it had not been asked for.
    fn allows(self, value: u64) -> bool {
        match self {
            OptionKind::BlockSize => (8..=65464).contains(&value),
            OptionKind::TransferSize => true,
            OptionKind::Timeout => (1..=255).contains(&value),
            OptionKind::WindowSize => (1..=65535).contains(&value),
        }
    }
}

/// An option as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedOption {
    /// Which.
    pub kind: OptionKind,
    /// Its name in the client's spelling, which the OACK repeats.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// A request to read a file in octet mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The file.
    pub path: RelPath,
    /// The options that are understood and have a lawful value, in the client's order, each once.
    pub options: Vec<RequestedOption>,
}

/// A datagram on the server's port that starts no transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// What to answer; `None`: nothing, since an answer to something that is no request could start a loop.
    pub refusal: Option<Refusal>,
    /// The file's name as the client wrote it, made printable, where there is one.
    pub path: String,
    /// Why, for the log.
    pub reason: String,
    /// Why, as its name in counters: `truncated`, `not-a-request`, `write-request`, `unsupported-mode`, `hostile-path`.
    pub slug: &'static str,
}

impl ReadRequest {
    /// Reads a datagram that came to the server's port.
    ///
    /// # Errors
    /// It is no request, or one that cannot be served: a write, another mode than octet, a path that leaves the
    /// root. The error says whether and how to answer.
    pub fn parse(packet: &[u8]) -> Result<Self, BadRequest> {
        let silent = |slug, reason: &str| BadRequest {
            refusal: None,
            path: String::new(),
            reason: reason.to_owned(),
            slug,
        };
        let Some((opcode, body)) = packet.split_first_chunk::<2>() else {
            let why = "datagram shorter than an operation code";
            return Err(silent("truncated", why));
        };
        let opcode = u16::from_be_bytes(*opcode);
        if opcode != RRQ && opcode != WRQ {
            let why = "neither a read nor a write request";
            return Err(silent("not-a-request", why));
        }
        let mut fields = Fields(body);
        let (Some(path), Some(mode)) = (fields.next(), fields.next()) else {
            let why = "request without file name and mode";
            return Err(refused("truncated", b"", ErrorCode::ILLEGAL, why));
        };
        if opcode == WRQ {
            let why = "this server only gives out files; writing is refused";
            return Err(refused("write-request", path, ErrorCode::ACCESS, why));
        }
        if !mode.eq_ignore_ascii_case(b"octet") {
            let mode = printable(&mode[..mode.len().min(16)]);
            let why = format!("mode `{mode}` is not supported, use octet (binary)");
            return Err(refused("unsupported-mode", path, ErrorCode::ILLEGAL, why));
        }
        let checked = std::str::from_utf8(path)
            .map_err(|_| PathError::NotText)
            .and_then(sanitize_path);
        match checked {
            Ok(path) => Ok(Self {
                path,
                options: options(fields),
            }),
            Err(error) => {
                let why = error.to_string();
                Err(refused("hostile-path", path, ErrorCode::ACCESS, why))
            }
        }
    }

    /// The value asked for, where it was.
    #[must_use]
    pub fn option(&self, kind: OptionKind) -> Option<u64> {
        let found = self.options.iter().find(|option| option.kind == kind);
        found.map(|option| option.value)
    }
}

fn refused(slug: &'static str, path: &[u8], code: ErrorCode, why: impl Into<String>) -> BadRequest {
    let why = why.into();
    BadRequest {
        refusal: Some(Refusal::new(code, why.clone())),
        path: printable(&path[..path.len().min(super::PATH_MAX)]),
        reason: why,
        slug,
    }
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(char::is_control, "?")
}

/// The NUL-terminated strings of a request. What stands behind the last NUL is no string: some ROMs pad.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (field, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(field)
    }
}

fn options(mut fields: Fields<'_>) -> Vec<RequestedOption> {
    let mut options: Vec<RequestedOption> = Vec::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let Some(kind) = OptionKind::parse(name) else {
            continue;
        };
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let value = std::str::from_utf8(value).ok().filter(|_| digits);
        let Some(value) = value.and_then(|text| text.parse().ok()) else {
            continue;
        };
        let again = options.iter().any(|option| option.kind == kind);
        if kind.allows(value) && !again {
            let name = printable(name);
            options.push(RequestedOption { kind, name, value });
        }
    }
    options
}

/// What client and server agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Block size in bytes.
    pub block: u16,
    /// Window size in blocks.
    pub window: u16,
    /// Time until the first retransmission.
    pub timeout: Duration,
    /// The OACK; `None` where no option was asked for that is understood.
    pub oack: Option<Vec<u8>>,
    /// Whether the client asked for the file's size.
    pub tsize: bool,
}

impl Agreed {
    /// Agrees to the options of `request`. Nothing is added, and nothing raised above what the client asked for
    /// (RFC 2347): a smaller value is a server's right for block and window size only.
    #[must_use]
    pub fn with(request: &ReadRequest, size: u64, limits: &Limits) -> Self {
        let mut agreed = Self {
            block: 512,
            window: 1,
            timeout: limits.first_timeout,
            oack: None,
            tsize: request.option(OptionKind::TransferSize).is_some(),
        };
        if let Some(block) = request.option(OptionKind::BlockSize) {
            agreed.block = small(block).min(limits.max_block.max(8));
        }
        if let Some(window) = request.option(OptionKind::WindowSize) {
            let most = limits.max_window_bytes / usize::from(agreed.block);
            let most = u16::try_from(most).unwrap_or(u16::MAX).min(WINDOW_MAX);
            agreed.window = small(window).min(most).max(1);
        }
        if let Some(seconds) = request.option(OptionKind::Timeout) {
            agreed.timeout = Duration::from_secs(seconds);
        }
        if !request.options.is_empty() {
            let answers = request.options.iter().map(|option| {
                let value = match option.kind {
                    OptionKind::BlockSize => u64::from(agreed.block),
                    OptionKind::TransferSize => size,
                    OptionKind::Timeout => option.value,
                    OptionKind::WindowSize => u64::from(agreed.window),
                };
                (option.name.as_str(), value)
            });
            agreed.oack = Some(oack(answers));
        }
        agreed
    }
}

/// A value that was checked to fit.
fn small(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
