//! A gate's desk: each machine boots what it is armed for.

use std::time::{Duration, Instant};

use bootgate_api::{BootPlan, Completion, paths};
use bootgate_events::{ArtifactRole, AttemptId, ByteRange, EventKind, FaultAction, MacAddr, Stage};
use bootgate_netboot::script::{
    Initrd, IpxeScript, ScriptError, render_autoexec, render_custom, render_exit, render_ipxe,
};

use super::{Armed, MachineBoot, Machines, ScriptBoot};
use crate::desk::{
    AgentCall, Answer, Answered, BootAsk, Desk, FileAsk, Generated, Refusal, Saying, Served,
};
use crate::{ArtifactName, BoxFuture};

/// Shortest time between two progress events of one phase of one attempt; the last one of a phase is always told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Desk for Machines {
    fn attempt(&self, mac: &MacAddr) -> Option<AttemptId> {
        Machines::attempt(self, mac)
    }

    fn fault(&self, mac: &MacAddr, role: ArtifactRole) -> Option<FaultAction> {
        Machines::fault(self, mac, role)
    }

    fn boot(&self, ask: BootAsk) -> BoxFuture<'_, Result<Served, Refusal>> {
        Box::pin(std::future::ready(self.script(&ask)))
    }

    fn generated(&self, ask: FileAsk) -> BoxFuture<'_, Generated> {
        Box::pin(std::future::ready(self.beside_nbp(&ask)))
    }

    fn call(&self, call: AgentCall) -> BoxFuture<'_, Result<Answered, Refusal>> {
        Box::pin(std::future::ready(self.called(call)))
    }
}

/// The script that iPXE since 2021 looks for beside its UEFI program, before its prompt and any DHCP of its own.
const AUTOEXEC: &str = "autoexec.ipxe";

impl Machines {
    /// The script that leads iPXE to the machine's own one, for who boots over the network.
    fn beside_nbp(&self, ask: &FileAsk) -> Generated {
        if ask.name.rsplit('/').next() != Some(AUTOEXEC) {
            return Generated::NotOurs;
        }
        let machines = self.lock();
        let boots = |mac: &MacAddr| machines.get(mac).is_some_and(|armed| armed.netboot);
        let Some(mac) = ask.holder.filter(boots) else {
            return Generated::Absent;
        };
        match render_autoexec(port(&ask.server_url)) {
            Ok(text) => Generated::File(Served {
                bytes: text.into(),
                mac: Some(mac),
                told: None,
            }),
            Err(error) => Generated::Refused(Refusal::new(500, error.to_string())),
        }
    }

    fn script(&self, ask: &BootAsk) -> Result<Served, Refusal> {
        let mac = ask.mac;
        let mut machines = self.lock();
        let Some(armed) = machines.get_mut(&mac) else {
            return Err(Refusal::new(404, format!("{mac} is not known here")));
        };
        let broken = |error: ScriptError| Refusal::new(500, error.to_string());
        let (MachineBoot::Script(boot), true) = (&armed.config.boot, armed.netboot) else {
            let text = render_exit("nothing to boot from the network").map_err(broken)?;
            return Ok(Served {
                bytes: text.into(),
                mac: Some(mac),
                told: None,
            });
        };
        let script = ipxe_script(boot, &armed.attempt, &ask.server_url);
        let text = match &boot.custom_script {
            Some(template) => render_custom(template, &script),
            None => render_ipxe(&script),
        };
        let text = text.map_err(broken)?;
        let earlier = armed.scripts_served;
        if ask.give {
            armed.scripts_served += 1;
        }
        Ok(Served {
            bytes: text.into(),
            mac: Some(mac),
            told: ask.give.then_some(EventKind::ScriptServed { mac, earlier }),
        })
    }

    fn called(&self, call: AgentCall) -> Result<Answered, Refusal> {
        let mut machines = self.lock();
        // A client that leased its address as another machine is refused too.
        let found = machines.iter_mut().find(|(mac, armed)| {
            armed.attempt.as_str() == call.nonce && call.holder.is_none_or(|holder| holder == **mac)
        });
        let Some((mac, armed)) = found else {
            return Err(Refusal::stale(&call));
        };
        let (answer, told) = answer(armed, call.what).map_err(|refusal| Refusal {
            mac: Some(*mac),
            ..refusal
        })?;
        Ok(Answered {
            answer,
            mac: Some(*mac),
            told,
        })
    }
}

/// The port in a server's base URL.
fn port(server_url: &str) -> u16 {
    let last = server_url.rsplit(':').next();
    last.and_then(|port| port.parse().ok()).unwrap_or(80)
}

fn answer(armed: &mut Armed, what: Saying) -> Result<(Answer, Option<EventKind>), Refusal> {
    let done = |told: EventKind| Ok((Answer::Done, Some(told)));
    match what {
        Saying::Hello(hello) => {
            let told = EventKind::AgentStarted {
                version: hello.version,
                since_pid1_ms: hello.since_pid1_ms,
            };
            Ok((Answer::Plan(plan(armed)), Some(told)))
        }
        Saying::Plan => Ok((Answer::Plan(plan(armed)), None)),
        Saying::Progress(progress) => {
            let now = Instant::now();
            let soon = armed.last_progress.is_some_and(|(last, at)| {
                last == progress.phase && now.saturating_duration_since(at) < PROGRESS_EVERY
            });
            if soon && progress.done < progress.total {
                return Ok((Answer::Done, None));
            }
            armed.last_progress = Some((progress.phase, now));
            done(EventKind::AgentProgressed {
                phase: progress.phase,
                done: progress.done,
                total: progress.total,
            })
        }
        Saying::Complete(completion) => completed(armed, &completion),
        Saying::Failure(failure) => done(EventKind::AgentFailed {
            stage: failure.stage,
            error: failure.error,
        }),
        Saying::Unreadable(reason) => Err(Refusal::new(400, reason)),
        Saying::Inventory(_) | Saying::Answer | Saying::Installed { .. } => {
            Err(Refusal::new(404, "this attempt has no such call"))
        }
    }
}

fn plan(armed: &Armed) -> BootPlan {
    match &armed.config.boot {
        MachineBoot::Script(script) => script.plan.clone(),
        MachineBoot::Disk => BootPlan::Stay,
    }
}

/// A completion counts once; the same one again, whose answer was lost, is answered again.
fn completed(
    armed: &mut Armed,
    completion: &Completion,
) -> Result<(Answer, Option<EventKind>), Refusal> {
    let wrong = |error: String| Refusal::wrong_completion(error);
    if let Some(earlier) = &armed.completed {
        return match earlier == completion {
            true => Ok((Answer::Done, None)),
            false => Err(wrong(
                "the attempt was completed before, with other values".to_owned(),
            )),
        };
    }
    let expected = match &armed.config.boot {
        MachineBoot::Script(script) => script.expected_chunks.zip(Some(script.expected_size)),
        MachineBoot::Disk => None,
    };
    let Some((chunks, size)) = expected else {
        return Err(wrong("nothing was to be flashed".to_owned()));
    };
    if completion.chunks_sha256 != chunks {
        let read = completion.chunks_sha256;
        return Err(wrong(format!(
            "the disk reads back as `{read}`, the image is `{chunks}`"
        )));
    }
    if let Some(size) = size.filter(|size| *size != completion.size) {
        return Err(wrong(format!(
            "`{}` bytes were read back, the image has `{size}`",
            completion.size
        )));
    }
    armed.completed = Some(completion.clone());
    Ok((Answer::Done, Some(flashed(completion))))
}

/// The event of a completion that is right.
pub(crate) fn flashed(completion: &Completion) -> EventKind {
    EventKind::AgentFlashed {
        chunks_sha256: completion.chunks_sha256.to_string(),
        ranges: vec![ByteRange {
            start: 0,
            end: completion.size,
        }],
        bytes_fetched: completion.bytes_fetched,
        bytes_written: completion.bytes_written,
        first_fetch_ms: completion.first_fetch_ms,
    }
}

impl Refusal {
    /// The nonce is not that of a current attempt, or not this caller's.
    pub(crate) fn stale(call: &AgentCall) -> Self {
        let mut refusal = Self::new(409, "the nonce is not that of a current attempt");
        refusal.mac = call.holder;
        refusal.told = Some(Box::new(EventKind::StaleCallback {
            nonce: call.nonce.chars().take(64).collect(),
            path: call.path.clone(),
        }));
        refusal
    }

    /// What was read back is not the image.
    pub(crate) fn wrong_completion(error: String) -> Self {
        let mut refusal = Self::new(422, error.clone());
        refusal.told = Some(Box::new(EventKind::AgentFailed {
            stage: Stage::Verify,
            error,
        }));
        refusal
    }
}

fn ipxe_script(boot: &ScriptBoot, nonce: &AttemptId, server_url: &str) -> IpxeScript {
    let url = |name: &ArtifactName| format!("{server_url}{}", paths::artifact(name.as_str()));
    let initrds = boot.initrds.iter().enumerate();
    IpxeScript {
        kernel_url: url(&boot.kernel),
        initrds: initrds
            .map(|(index, name)| Initrd {
                name: format!("initrd{index}"),
                url: url(name),
            })
            .collect(),
        cmdline: boot.cmdline.clone(),
        nonce: nonce.clone(),
        server_url: server_url.to_owned(),
    }
}
