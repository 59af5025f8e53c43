//! One file on its way to one client.

use std::time::Duration;

use super::Time;
use super::packet::{ErrorCode, FromClient, Refusal, Stray, data_header};
use super::request::{Agreed, Limits, ReadRequest};

/// How soon a window is sent again after the client repeated its last acknowledgement. Long against a round trip on
/// one segment, short against any timeout.
const REPEATED_ACK_PATIENCE: Duration = Duration::from_millis(100);

/// Something to send to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A whole packet: an OACK or an ERROR.
    Packet(Vec<u8>),
    /// A DATA packet: the header, then `len` bytes of the file from `offset` on.
    Data {
        /// Operation code and block number.
        header: [u8; 4],
        /// Where the block begins in the file.
        offset: u64,
        /// Its length in bytes; 0 for the last block of a file that is a multiple of the block size.
        len: usize,
    },
}

/// What became of a packet from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It moved the transfer on, or ended it.
    Progress,
    /// It repeated what was known, or came too late: normal on a network that duplicates and delays.
    Repeated,
    /// It makes no sense here.
    Ignored(Stray),
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client acknowledged the last block.
    Completed,
    /// It ended early.
    Aborted {
        /// The client's ERROR, or our reason to give up.
        reason: String,
        /// Whether firmware does so on healthy boots: it asked for the size, and wants no data yet.
        benign: bool,
    },
}

#[derive(Debug)]
enum State {
    /// The OACK is out (`sent`) or due.
    Offering { sent: bool },
    /// Blocks are on their way.
    Sending,
    /// Over. The last packet may still have to be sent.
    Ended { end: End, last: Option<Vec<u8>> },
}

/// The server's side of one read transfer. Blocks are counted from 1 in 64 bits; their numbers on the wire wrap from
/// 65535 to 0, which every loader in use expects.
#[derive(Debug)]
pub struct Transfer {
    agreed: Agreed,
    limits: Limits,
    size: u64,
    state: State,
    /// Every block up to this one is acknowledged.
    acked: u64,
    /// The next block to send.
    next: u64,
    /// The highest block that was ever sent.
    highest: u64,
    /// When to send again.
    deadline: Time,
    /// Time from one transmission to the next; grows.
    interval: Duration,
    retries: u32,
    /// When the window was last sent.
    sent_at: Time,
    /// The client repeated its acknowledgement since the last progress.
    repeated: bool,
}

impl Transfer {
    /// Starts the transfer of a file of `size` bytes. The first packets are to be had from [`Self::next_packet`].
    #[must_use]
    pub fn start(now: Time, request: &ReadRequest, size: u64, limits: &Limits) -> Self {
        let agreed = Agreed::with(request, size, limits);
        let state = match agreed.oack {
            Some(_) => State::Offering { sent: false },
            None => State::Sending,
        };
        Self {
            limits: *limits,
            size,
            state,
            acked: 0,
            next: 1,
            highest: 0,
            interval: agreed.timeout,
            deadline: now + agreed.timeout,
            retries: 0,
            sent_at: now,
            repeated: false,
            agreed,
        }
    }

    /// What client and server agreed on.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Bytes of the file that the client has acknowledged.
    #[must_use]
    pub fn acked_bytes(&self) -> u64 {
        self.size
            .min(self.acked.saturating_mul(u64::from(self.agreed.block)))
    }

    /// How it ended; `None` while it goes on. There may still be one packet to send.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended { end, .. } => Some(end),
            _ => None,
        }
    }

    /// When [`Self::poll`] must be called at the latest.
    #[must_use]
    pub fn poll_at(&self) -> Option<Time> {
        self.end().is_none().then_some(self.deadline)
    }

    /// The next thing to send now, until there is none. At most one window of blocks comes between two packets of
    /// the client or two deadlines.
    pub fn next_packet(&mut self, now: Time) -> Option<Transmit> {
        match &mut self.state {
            State::Offering { sent: true } => None,
            State::Offering { sent } => {
                *sent = true;
                self.arm(now);
                self.agreed.oack.clone().map(Transmit::Packet)
            }
            State::Sending => self.next_block(now),
            State::Ended { last, .. } => last.take().map(Transmit::Packet),
        }
    }

    fn next_block(&mut self, now: Time) -> Option<Transmit> {
        let window_end = self.acked + u64::from(self.agreed.window);
        if self.next > window_end.min(self.last_block()) {
            return None;
        }
        let block = self.next;
        self.next += 1;
        self.highest = self.highest.max(block);
        self.arm(now);
        let offset = (block - 1) * u64::from(self.agreed.block);
        let len = (self.size - offset).min(u64::from(self.agreed.block));
        Some(Transmit::Data {
            header: data_header(block),
            offset,
            len: usize::try_from(len).unwrap_or(usize::MAX),
        })
    }

    /// The block that ends the file: the first that is not full (RFC 1350), so one more where the size is a multiple
    /// of the block size.
    fn last_block(&self) -> u64 {
        self.size / u64::from(self.agreed.block) + 1
    }

    fn arm(&mut self, now: Time) {
        self.sent_at = now;
        self.deadline = now + self.interval;
    }

    /// Takes a packet that the client sent to the transfer's port.
    pub fn handle(&mut self, now: Time, packet: &[u8]) -> Handled {
        if self.end().is_some() {
            return Handled::Ignored(Stray::Late);
        }
        match FromClient::parse(packet) {
            FromClient::Ack(number) => self.acknowledged(now, number),
            FromClient::Error(code, text) => {
                self.client_gave_up(code, &text);
                Handled::Progress
            }
            FromClient::Other(what) => Handled::Ignored(what),
        }
    }

    fn acknowledged(&mut self, now: Time, number: u16) -> Handled {
        if let State::Offering { sent } = self.state {
            if !sent || number != 0 {
                return Handled::Ignored(Stray::NotSent);
            }
            self.state = State::Sending;
            self.progressed(now);
            return Handled::Progress;
        }
        let block = self.acked + u64::from(number.wrapping_sub(low_bits(self.acked)));
        if block == self.acked {
            self.repeated_ack(now);
            return Handled::Repeated;
        }
        if block > self.highest {
            return Handled::Repeated;
        }
        self.acked = block;
        // RFC 7440, section 4: an acknowledgement inside the window asks for the blocks behind it again.
        self.next = block + 1;
        self.progressed(now);
        if block == self.last_block() {
            self.finish(End::Completed, None);
        }
        Handled::Progress
    }

    /// In lockstep an acknowledgement that comes twice is ignored, or every later block would be sent twice (the
    /// Sorcerer's Apprentice, RFC 1123 section 4.2.3.1). With a window it may also say that the window's first block
    /// was lost (RFC 7440): the window is sent again soon, unless progress shows that the repetition was a mere
    /// duplicate.
    fn repeated_ack(&mut self, now: Time) {
        if self.agreed.window > 1 && !self.repeated {
            self.repeated = true;
            let soon = now.max(self.sent_at + REPEATED_ACK_PATIENCE);
            self.deadline = self.deadline.min(soon);
        }
    }

    fn progressed(&mut self, now: Time) {
        self.retries = 0;
        self.repeated = false;
        self.interval = self.agreed.timeout;
        self.arm(now);
    }

    fn client_gave_up(&mut self, code: ErrorCode, text: &str) {
        // EDK2 asks for the size and then sends ERROR 8; Intel's PXE ROMs send ERROR 0 for the same purpose.
        let probe =
            code == ErrorCode::OPTIONS || (code == ErrorCode::UNDEFINED && self.agreed.tsize);
        let benign = probe && self.acked == 0;
        let reason = format!("client sent ERROR {code} `{text}`");
        self.finish(End::Aborted { reason, benign }, None);
    }

    /// Does what is due at `now`: sends again, with growing intervals, or gives the transfer up.
    pub fn poll(&mut self, now: Time) {
        if self.end().is_some() || now < self.deadline {
            return;
        }
        if self.retries >= self.limits.max_retries {
            let retries = self.retries;
            let reason = format!("client was silent through {retries} retransmissions");
            self.fail(
                &Refusal::new(ErrorCode::UNDEFINED, "no acknowledgement"),
                reason,
            );
            return;
        }
        self.retries += 1;
        let most = self.limits.max_timeout.max(self.agreed.timeout);
        self.interval = (self.interval * 2).min(most);
        self.next = self.acked + 1;
        if let State::Offering { sent } = &mut self.state {
            *sent = false;
        }
        self.arm(now);
    }

    /// Ends the transfer from this side, telling the client: the file cannot be read any more, or the server stops.
    pub fn fail(&mut self, refusal: &Refusal, reason: impl Into<String>) {
        if self.end().is_none() {
            let reason = reason.into();
            let end = End::Aborted {
                reason,
                benign: false,
            };
            self.finish(end, Some(refusal.to_packet()));
        }
    }

    fn finish(&mut self, end: End, last: Option<Vec<u8>>) {
        self.state = State::Ended { end, last };
    }
}

/// A block's number on the wire.
fn low_bits(block: u64) -> u16 {
    let [.., hi, lo] = block.to_be_bytes();
    u16::from_be_bytes([hi, lo])
}
