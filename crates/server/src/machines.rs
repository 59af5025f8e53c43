//! What the servers know about each machine.

mod files;
mod gate;
mod words;

pub(crate) use gate::flashed;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use bootgate_api::{BootPlan, Completion, Sha256Hex};
use bootgate_events::{
    ArtifactRole, AttemptId, FaultAction, FaultRule, FaultTrigger, FlashPhase, MacAddr,
};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};
use bootgate_netboot::script::LoaderKind;

use crate::ArtifactName;

/// What one machine may boot.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The address it boots from.
    pub mac: MacAddr,
    /// What it gets when it asks the network.
    pub boot: MachineBoot,
    /// The network boot programs for it, by firmware.
    pub nbp: Bootfiles,
    /// The loader that boots it by its own configuration; `None`: iPXE, by its script. With another loader, an iPXE in
    /// its ROM gets the boot program that firmware gets.
    pub loader: Option<LoaderKind>,
    /// What is served wrongly, on purpose.
    pub faults: Vec<FaultRule>,
}

/// What a machine gets when it asks the network.
#[derive(Clone, Debug)]
pub enum MachineBoot {
    /// A boot script of iPXE's.
    Script(Box<ScriptBoot>),
    /// An address and nothing to boot.
    Disk,
}

/// A boot by iPXE script into the live environment.
#[derive(Clone, Debug)]
pub struct ScriptBoot {
    /// The kernel.
    pub kernel: ArtifactName,
    /// Initial RAM disks, in order.
    pub initrds: Vec<ArtifactName>,
    /// Kernel command line, without the keys that the server adds (see `bootgate_api::cmdline`).
    pub cmdline: String,
    /// What the agent is told to do.
    pub plan: BootPlan,
    /// The digest a completion must carry (`ChunkIndex::chunks_sha256` of the image); `None` where nothing is
    /// flashed.
    pub expected_chunks: Option<Sha256Hex>,
    /// Size of the image in bytes, which a completion must have read back; `None` where nothing is flashed.
    pub expected_size: Option<u64>,
    /// The operator's own script in place of the built-in one.
    pub custom_script: Option<String>,
}

/// A machine and its current attempt.
#[derive(Clone, Debug)]
pub(crate) struct Armed {
    pub(crate) config: MachineConfig,
    /// Whether it may boot from the network now.
    pub(crate) netboot: bool,
    pub(crate) attempt: AttemptId,
    pub(crate) scripts_served: u32,
    pub(crate) completed: Option<Completion>,
    pub(crate) last_progress: Option<(FlashPhase, Instant)>,
}

/// The machines of a segment. What is not in it gets an address and nothing to boot.
#[derive(Debug, Default)]
pub struct Machines {
    by_mac: Mutex<HashMap<MacAddr, Armed>>,
}

impl Machines {
    /// Lets the machine boot from the network for one attempt, whose nonce its script and its callbacks carry.
    /// An earlier attempt of the same machine ends: its callbacks are stale from now on.
    pub fn arm(&self, config: MachineConfig, nonce: AttemptId) {
        let mac = config.mac;
        let armed = Armed {
            netboot: matches!(config.boot, MachineBoot::Script(_)),
            config,
            attempt: nonce,
            scripts_served: 0,
            completed: None,
            last_progress: None,
        };
        self.lock().insert(mac, armed);
    }

    /// The machine gets an address and nothing to boot from now on; its attempt goes on.
    pub fn boot_disk_only(&self, mac: MacAddr) {
        if let Some(armed) = self.lock().get_mut(&mac) {
            armed.netboot = false;
        }
    }

    /// Forgets the machine; callbacks of its attempt are stale from now on.
    pub fn disarm(&self, mac: MacAddr) {
        self.lock().remove(&mac);
    }

    /// The attempt the machine is armed for.
    #[must_use]
    pub fn attempt(&self, mac: &MacAddr) -> Option<AttemptId> {
        self.lock().get(mac).map(|armed| armed.attempt.clone())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<MacAddr, Armed>> {
        self.by_mac.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What the scenario wants to go wrong when this machine asks for a file of this role.
    pub(crate) fn fault(&self, mac: &MacAddr, role: ArtifactRole) -> Option<FaultAction> {
        let machines = self.lock();
        let rules = &machines.get(mac)?.config.faults;
        let rule = rules
            .iter()
            .find(|rule| rule.on == FaultTrigger::Serve(role))?;
        Some(rule.action)
    }
}

impl MachineLookup for Machines {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        let machines = self.lock();
        let armed = machines.get(mac)?;
        Some(BootMachine {
            netboot: armed.netboot,
            bootfiles: armed.config.nbp.clone(),
            no_script: armed.config.loader.is_some(),
            ..BootMachine::default()
        })
    }
}
