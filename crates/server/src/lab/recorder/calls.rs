//! What loaders, agents and installers ask.

use std::net::IpAddr;

use bootgate_api::{Attempt, BootMode, BootPlan, Completion, ExpectedFlash, Nonce, UnixMicros};
use bootgate_events::{EventKind, FlashPhase, MacAddr, Stage};
use bootgate_store::{BeginFlash, Completed, MachineChange, StoreError};

use super::super::decide::{By, Meaning, Next, local_how};
use super::super::render::Words;
use super::{Given, Recorder, fresh_nonce, remember};
use crate::desk::{AgentCall, Answer, Answered, BootAsk, BootLoader, Refusal, Saying};
use crate::machines::flashed;

/// An IPv4 address, where it came as IPv6.
pub(super) fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn storage(error: &StoreError) -> Refusal {
    Refusal::new(503, error.to_string())
}

impl Recorder {
    fn stored<T>(&mut self, result: Result<T, StoreError>) -> Result<T, Refusal> {
        result.map_err(|error| {
            if !matches!(error, StoreError::Refused { .. }) {
                self.fails(&error);
            }
            storage(&error)
        })
    }

    /// A loader asks for its script: a nonce is durable before it leaves.
    pub(super) fn boot(&mut self, ask: &BootAsk) -> Result<Given, Refusal> {
        let mac = ask.mac;
        if let Meaning::Begins(reason) = self.meaning(&mac, By::Script) {
            if self.parts.known.stopping() {
                return Err(Refusal::new(503, "the server stops: ask again later"));
            }
            let reason = format!("its script was asked for: {reason}");
            let began = self.begin(mac, None, &reason);
            self.stored(began)?;
        }
        let machine = self.parts.known.machine(&mac);
        let (Some(open), Some(machine)) = (self.open.get(&mac), machine) else {
            return Ok(Given {
                machine: self.unmet(mac),
                next: Next::Local,
                nonce: None,
                uboot: false,
            });
        };
        let (attempt, uboot) = (open.attempt.clone(), open.uboot);
        remember(&mut self.peers, plain(ask.peer), mac);
        let next = self.next_of(&machine, &attempt.boot, attempt.local, ask.loader);
        let nonce = match &next {
            Next::Local => {
                let how = match ask.loader {
                    BootLoader::Ipxe => local_how(&machine.local, machine.architecture),
                    BootLoader::Pxelinux | BootLoader::Uboot => "localboot".to_owned(),
                    BootLoader::Grub => "exit (UEFI) or chainloader (BIOS)".to_owned(),
                };
                self.then(&mac, EventKind::LocalBootServed { mac, how });
                None
            }
            Next::Refused(reason) => {
                let reason = reason.clone();
                self.then(&mac, EventKind::BootRefused { mac, reason });
                None
            }
            _ => Some(self.give_nonce(&attempt, ask.peer)?),
        };
        Ok(Given {
            machine,
            next,
            nonce,
            uboot,
        })
    }

    /// What is true once the script on its way has arrived.
    fn then(&mut self, mac: &MacAddr, kind: EventKind) {
        if let Some(open) = self.open.get_mut(mac) {
            open.after_script = Some(kind);
        }
    }

    fn give_nonce(&mut self, attempt: &Attempt, peer: IpAddr) -> Result<Nonce, Refusal> {
        let nonce = fresh_nonce()
            .map_err(|error| Refusal::new(500, format!("read randomness: {error}")))?;
        let issued = self
            .parts
            .store
            .issue_nonce(&attempt.id, &nonce, plain(peer));
        let issued = self.stored(issued)?;
        let mac = attempt.mac;
        if let Some(open) = self.open.get_mut(&mac) {
            open.attempt = issued.attempt;
            open.after_script = None;
        }
        let earlier = issued.earlier;
        self.record(&mac, EventKind::ScriptServed { mac, earlier });
        Ok(nonce)
    }

    /// An agent or an installer calls.
    pub(super) fn call(&mut self, call: &AgentCall) -> Result<Answered, Refusal> {
        self.called(call).map_err(|mut refusal| {
            // Whose call it is may be known where no lease says so.
            refusal.mac = refusal
                .mac
                .or_else(|| self.peers.get(&plain(call.peer)).copied());
            refusal
        })
    }

    fn called(&mut self, call: &AgentCall) -> Result<Answered, Refusal> {
        let Ok(nonce) = call.nonce.parse::<Nonce>() else {
            return Err(Refusal::stale(call));
        };
        let found = self.parts.store.attempt_by_nonce(&nonce);
        let Some(attempt) = self.stored(found)? else {
            return self.called_late(call, &nonce);
        };
        let mac = attempt.mac;
        let peer = plain(call.peer);
        // The caller has the address that the nonce was given to, or another one that the machine leased here; and no
        // other machine leased it.
        let same = attempt.peer == Some(peer) || call.holder == Some(mac);
        let other = call.holder.is_some_and(|holder| holder != mac);
        let current = self
            .open
            .get(&mac)
            .is_some_and(|open| open.attempt.id == attempt.id);
        if !same || other || !current {
            return Err(Refusal::stale(call));
        }
        let answer = self
            .said(call, &nonce, &attempt)
            .map_err(|refusal| Refusal {
                mac: Some(mac),
                ..refusal
            })?;
        Ok(Answered {
            answer,
            mac: Some(mac),
            told: None,
        })
    }

    /// A completion whose answer was lost may come again after its attempt is over.
    fn called_late(&mut self, call: &AgentCall, nonce: &Nonce) -> Result<Answered, Refusal> {
        let stale = || Refusal::stale(call);
        let Saying::Complete(completion) = &call.what else {
            return Err(stale());
        };
        let library = self.parts.library.now();
        let images = library.all_images();
        let mut same = images.filter(|image| {
            let expected = &image.expected;
            expected.chunks_sha256 == completion.chunks_sha256 && expected.size == completion.size
        });
        let written = same
            .next()
            .map(|image| image.expected.clone())
            .ok_or_else(stale)?;
        let at = UnixMicros(self.clock.now_us());
        let completed = self.parts.store.complete_flash(nonce, &written, at);
        match self.stored(completed)? {
            Completed::Again => Ok(Answered {
                answer: Answer::Done,
                mac: call.holder,
                told: None,
            }),
            _ => Err(stale()),
        }
    }

    fn said(
        &mut self,
        call: &AgentCall,
        nonce: &Nonce,
        attempt: &Attempt,
    ) -> Result<Answer, Refusal> {
        let mac = attempt.mac;
        match &call.what {
            Saying::Unreadable(reason) => Err(Refusal::new(400, reason.clone())),
            Saying::Hello(hello) => {
                let plan = self.plan(call, nonce, attempt)?;
                let kind = EventKind::AgentStarted {
                    version: hello.version.clone(),
                    since_pid1_ms: hello.since_pid1_ms,
                };
                self.record(&mac, kind);
                Ok(Answer::Plan(plan))
            }
            Saying::Plan => self.plan(call, nonce, attempt).map(Answer::Plan),
            Saying::Progress(progress) => {
                if !self.too_soon(&mac) || progress.done >= progress.total {
                    let kind = EventKind::AgentProgressed {
                        phase: progress.phase,
                        done: progress.done,
                        total: progress.total,
                    };
                    self.record(&mac, kind);
                }
                Ok(Answer::Done)
            }
            Saying::Complete(completion) => self.complete(call, nonce, attempt, completion),
            Saying::Inventory(inventory) => {
                if attempt.boot != BootMode::Inventory {
                    return Err(Refusal::new(404, "this attempt takes no inventory"));
                }
                let recorded = self.parts.store.record_inventory(nonce, inventory);
                self.stored(recorded)?;
                self.refresh(&mac)?;
                let summary = inventory.summary();
                self.record(&mac, EventKind::InventoryReceived { mac, summary });
                Ok(Answer::Done)
            }
            Saying::Failure(failure) => {
                let kind = EventKind::AgentFailed {
                    stage: failure.stage,
                    error: failure.error.clone(),
                };
                self.record(&mac, kind);
                Ok(Answer::Done)
            }
            Saying::Answer => self.answer_file(call, nonce, attempt),
            Saying::Installed { failed } => self.installed(attempt, failed.clone()),
        }
    }

    fn refresh(&mut self, mac: &MacAddr) -> Result<(), Refusal> {
        let refreshed = self.parts.known.refresh(&*self.parts.store, mac);
        self.stored(refreshed).map(drop)
    }

    /// What the agent is to do. Before it hears of a flash, its disk counts as half written.
    fn plan(
        &mut self,
        call: &AgentCall,
        nonce: &Nonce,
        attempt: &Attempt,
    ) -> Result<BootPlan, Refusal> {
        let Some(machine) = self.parts.known.machine(&attempt.mac) else {
            return Err(Refusal::stale(call));
        };
        let next = self.next_of(&machine, &attempt.boot, attempt.local, BootLoader::Ipxe);
        let library = self.parts.library.now();
        if let Next::Flash(order) = &next {
            let image = library.image_of(&order.image, attempt.expected.as_ref());
            if image.is_none() {
                let reason = "the image is another one since this boot began";
                return Err(Refusal::new(409, reason));
            }
            let begun = self.parts.store.begin_flash(nonce);
            if self.stored(begun)? == BeginFlash::Stale {
                return Err(Refusal::stale(call));
            }
            self.refresh(&attempt.mac)?;
        }
        Ok(library.plan(&next, attempt.expected.as_ref()))
    }

    /// The disk counts as flashed before the agent hears that it does.
    fn complete(
        &mut self,
        call: &AgentCall,
        nonce: &Nonce,
        attempt: &Attempt,
        completion: &Completion,
    ) -> Result<Answer, Refusal> {
        let Some(expected) = &attempt.expected else {
            return Err(Refusal::wrong_completion(
                "nothing was to be flashed".to_owned(),
            ));
        };
        let written = ExpectedFlash {
            image_sha256: expected.image_sha256,
            chunks_sha256: completion.chunks_sha256,
            size: completion.size,
        };
        let at = UnixMicros(self.clock.now_us());
        let completed = self.parts.store.complete_flash(nonce, &written, at);
        match self.stored(completed)? {
            Completed::Yes | Completed::Again => {}
            Completed::Stale => return Err(Refusal::stale(call)),
            Completed::NotBegun => {
                let error = "the flash was reported as done before it began";
                return Err(Refusal::wrong_completion(error.to_owned()));
            }
            Completed::Wrong { expected } => {
                return Err(Refusal::wrong_completion(format!(
                    "the disk reads back as `{}` over `{}` bytes, the image is `{}` over `{}`",
                    written.chunks_sha256, written.size, expected.chunks_sha256, expected.size
                )));
            }
        }
        self.refresh(&attempt.mac)?;
        let open = self.open.get(&attempt.mac);
        if open.is_some_and(|open| !open.flashed) {
            // What was read back was read back, whether or not the agent said so on the way.
            if open
                .and_then(|open| open.stage())
                .is_none_or(|stage| stage < Stage::Flash)
            {
                let kind = EventKind::AgentProgressed {
                    phase: FlashPhase::Verify,
                    done: completion.size,
                    total: completion.size,
                };
                self.record(&attempt.mac, kind);
            }
            self.record(&attempt.mac, flashed(completion));
        }
        Ok(Answer::Done)
    }

    fn answer_file(
        &mut self,
        call: &AgentCall,
        nonce: &Nonce,
        attempt: &Attempt,
    ) -> Result<Answer, Refusal> {
        let none = || Refusal::new(404, "this attempt has no answer file");
        let BootMode::Install { installer } = &attempt.boot else {
            return Err(none());
        };
        let machine = self.parts.known.machine(&attempt.mac).ok_or_else(none)?;
        let library = self.parts.library.now();
        let words = Words {
            library: &library,
            machine: &machine,
            next: &Next::Install(installer.clone()),
            nonce,
            ip: plain(call.peer),
            server_url: &call.server_url,
        };
        let text = words.answer(installer).ok_or_else(none)?;
        let text = text.map_err(|error| {
            Refusal::new(
                500,
                format!("render the answer file of `{installer}`: {error}"),
            )
        })?;
        Ok(Answer::Text(text))
    }

    /// The installer is done: the machine boots its disk from now on.
    fn installed(&mut self, attempt: &Attempt, failed: Option<String>) -> Result<Answer, Refusal> {
        let mac = attempt.mac;
        if !matches!(attempt.boot, BootMode::Install { .. }) {
            return Err(Refusal::new(404, "this attempt installs nothing"));
        }
        if failed.is_none() {
            let change = MachineChange {
                boot: Some(BootMode::Local),
                // Whatever a flash left there, the installer wrote over it.
                force: true,
                only_from: Some(attempt.boot.clone()),
                ..MachineChange::default()
            };
            let at = UnixMicros(self.clock.now_us());
            match self.parts.store.set_machine(&mac, &change, at) {
                // An order that was given since stays.
                Err(StoreError::Refused { .. }) => {}
                changed => drop(self.stored(changed)?),
            }
            self.refresh(&mac)?;
        }
        let kind = EventKind::InstallReported {
            succeeded: failed.is_none(),
            message: failed.unwrap_or_default().chars().take(1024).collect(),
        };
        self.record(&mac, kind);
        Ok(Answer::Done)
    }
}
