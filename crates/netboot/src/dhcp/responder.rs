//! The server's side of the conversation.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::{DhcpConfig, Outcome};
use crate::Time;
use crate::policy::MachineLookup;

/// A DHCPv4 server: configuration and lease table.
#[derive(Debug)]
pub struct Responder {
    config: DhcpConfig,
}

impl Responder {
    /// A server without leases.
    #[must_use]
    pub fn new(config: DhcpConfig) -> Self {
        Self { config }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &DhcpConfig {
        &self.config
    }

    /// Handles the payload of one datagram that came to port 67. `machines` says what each machine may boot.
    ///
    /// Never panics, whatever the bytes are.
    pub fn handle(&mut self, now: Time, packet: &[u8], machines: &dyn MachineLookup) -> Outcome {
        let _ = (now, packet, machines);
        Outcome::default()
    }

    /// The machine that holds `ip` by a lease (not a mere offer) at `now`.
    #[must_use]
    pub fn lease_of(&self, now: Time, ip: Ipv4Addr) -> Option<MacAddr> {
        let _ = (now, ip);
        None
    }

    /// The address that `mac` holds by a lease at `now`.
    #[must_use]
    pub fn address_of(&self, now: Time, mac: &MacAddr) -> Option<Ipv4Addr> {
        let _ = (now, mac);
        None
    }

    /// Ends what expired until `now`. [`Responder::handle`] does so too; calling it at [`Responder::poll_at`]
    /// only frees memory earlier.
    pub fn poll(&mut self, now: Time) {
        let _ = now;
    }

    /// When the next lease, offer or quarantine ends; `None` where there is none.
    #[must_use]
    pub fn poll_at(&self) -> Option<Time> {
        None
    }
}
