//! An end to boot loaders that load themselves.

use std::collections::HashMap;
use std::time::Duration;

use bootgate_events::MacAddr;

use super::{ClientFacts, MessageKind};
use crate::Time;
use crate::policy::{Boot, Decision, Loader};

/// Boot programs given to one machine's iPXE within [`WINDOW`]: the ROM's, and one more for a boot that was tried
/// again.
const TRIES: u8 = 3;
const WINDOW: Duration = Duration::from_secs(600);
/// Machines kept in mind.
const MAX: usize = 256;

/// How often an iPXE without HTTP got a boot program in place of its script. Where the program is such an iPXE
/// again, and does not call itself this project's own, the chain would never end.
#[derive(Debug, Default)]
pub(super) struct Chained(HashMap<MacAddr, Chain>);

#[derive(Clone, Copy, Debug)]
struct Chain {
    since: Time,
    last: u32,
    given: u8,
}

impl Chained {
    /// The decision, or nothing to boot where the machine's iPXE was given a program too often.
    pub(super) fn limit(
        &mut self,
        now: Time,
        client: &ClientFacts,
        decision: Decision,
    ) -> Decision {
        if !concerns(&decision) {
            return decision;
        }
        if client.message == MessageKind::Discover {
            self.count(now, client);
        }
        self.look(now, client, decision)
    }

    /// The same without counting.
    pub(super) fn look(&self, now: Time, client: &ClientFacts, decision: Decision) -> Decision {
        let current = |chain: &&Chain| now.saturating_sub(chain.since) < WINDOW;
        let chain = self.0.get(&client.mac).filter(current);
        if !concerns(&decision) || chain.is_none_or(|chain| chain.given <= TRIES) {
            return decision;
        }
        Decision {
            boot: Boot::Nothing,
            reason: "nothing to boot: iPXE without HTTP was given its boot program again and again; it loads itself"
                .into(),
            ..decision
        }
    }

    fn count(&mut self, now: Time, client: &ClientFacts) {
        if self.0.len() >= MAX && !self.0.contains_key(&client.mac) {
            let oldest = self.0.iter().min_by_key(|(_, chain)| chain.since);
            if let Some(oldest) = oldest.map(|(mac, _)| *mac) {
                self.0.remove(&oldest);
            }
        }
        let fresh = Chain {
            since: now,
            last: client.xid,
            given: 1,
        };
        let chain = self.0.entry(client.mac).or_insert(fresh);
        if now.saturating_sub(chain.since) >= WINDOW {
            *chain = fresh;
        } else if chain.last != client.xid {
            chain.last = client.xid;
            chain.given = chain.given.saturating_add(1);
        }
    }
}

fn concerns(decision: &Decision) -> bool {
    decision.loader == Loader::Ipxe && matches!(decision.boot, Boot::Tftp(_) | Boot::Http(_))
}
