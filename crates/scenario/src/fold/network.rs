//! What the servers saw of a target, and how far that moves its attempt on.

use bootgate_events::{ArtifactRole, Cause, EventKind, FlashPhase, Goal, Protocol, Stage};

use super::disk::Proof;
use super::target::{Draw, TargetFold};

/// From so many fetches of one attempt's script before this one, the chain boots itself. A ROM that fetches it once
/// and the boot program it then starts once more are healthy.
const LOOPING: u32 = 3;

impl TargetFold {
    /// A fact of a server that concerns this target.
    pub(super) fn network(&mut self, draw: &mut Draw<'_>, kind: &EventKind) {
        self.begin(draw, "first packet");
        self.alive(draw);
        match kind {
            EventKind::DhcpReceived { facts, .. } => {
                self.dhcp_received(draw, &facts.loader, &facts.message);
            }
            EventKind::DhcpSent { facts, .. } => {
                // Boot programs are told a URL; only the firmware's TFTP name is the network boot program.
                let file = facts.bootfile.as_ref().filter(|file| !file.contains("://"));
                self.bootfile = file.cloned().or_else(|| self.bootfile.take());
            }
            EventKind::TransferStarted { role, path, .. } => {
                let stage = match role {
                    ArtifactRole::Nbp => Stage::Nbp,
                    ArtifactRole::Script => Stage::Script,
                    ArtifactRole::Kernel => Stage::Kernel,
                    ArtifactRole::Initrd => Stage::Initrd,
                    ArtifactRole::Image => Stage::Flash,
                    ArtifactRole::ImageIndex | ArtifactRole::Api | ArtifactRole::Other => return,
                };
                self.reach(draw, stage, &format!("fetch of `{path}`"));
            }
            EventKind::TransferCompleted {
                role: ArtifactRole::Initrd,
                path,
                ..
            } => {
                self.reach(draw, Stage::Live, &format!("`{path}` was fetched"));
            }
            EventKind::ScriptServed { earlier, .. } => {
                self.reach(draw, Stage::Script, "the boot script was fetched");
                if *earlier >= LOOPING && self.booting_from_network() {
                    let fetches = earlier.saturating_add(1);
                    self.fail(draw, Stage::Script, Cause::ChainLoop { fetches });
                }
            }
            EventKind::RequestRefused {
                protocol,
                role,
                path,
                code,
                reason,
                ..
            } => {
                if let Some(stage) = self.needed(*protocol, *role, path, *code) {
                    self.enter(draw, stage, &format!("`{path}` was asked for"));
                    let cause = Cause::FileRefused {
                        path: path.clone(),
                        code: *code,
                        reason: reason.clone(),
                    };
                    self.fail(draw, stage, cause);
                }
            }
            EventKind::AgentStarted { .. } => {
                self.agent_calls = true;
                self.reach(draw, Stage::Live, "the agent called");
            }
            EventKind::AgentProgressed { phase, .. } => match phase {
                FlashPhase::Compare => {
                    self.reach(draw, Stage::Flash, "the agent compares the disk");
                }
                FlashPhase::Write => self.reach(draw, Stage::Flash, "the agent writes the image"),
                FlashPhase::Verify => self.reach(draw, Stage::Verify, "the agent reads back"),
            },
            EventKind::AgentFlashed { .. } => self.agent_flashed(draw),
            EventKind::AgentFailed { stage, error } => {
                self.fail(
                    draw,
                    *stage,
                    Cause::AgentFailed {
                        error: error.clone(),
                    },
                );
            }
            EventKind::LocalBootServed { .. } => self.reached(draw, Goal::LocalBoot),
            EventKind::InventoryReceived { .. } => self.reached(draw, Goal::Inventory),
            EventKind::InstallReported {
                succeeded: true, ..
            } => {
                self.reached(draw, Goal::Install);
            }
            EventKind::TransferCompleted {
                role: ArtifactRole::Script,
                ..
            } => self.reached(draw, Goal::Script),
            EventKind::InstallReported { message, .. } if self.rules.goal == Goal::Install => {
                let error = message.clone();
                self.fail(draw, Stage::Live, Cause::InstallFailed { error });
            }
            EventKind::BootRefused { reason, .. } => {
                let (stage, error) = (self.stage().unwrap_or(Stage::Dhcp), reason.clone());
                self.fail(draw, stage, Cause::BootRefused { error });
            }
            _ => {}
        }
    }

    /// What the boot mode was to do is done.
    fn reached(&mut self, draw: &mut Draw<'_>, goal: Goal) {
        if self.rules.goal == goal {
            self.goal_reached = true;
            self.pass_if_complete(draw);
        }
    }

    fn dhcp_received(&mut self, draw: &mut Draw<'_>, loader: &str, message: &str) {
        let before_dhcp = self.stage().is_none_or(|stage| stage < Stage::Dhcp);
        match loader {
            // An operating system's own DHCP is a sign of life and no more.
            "os" => {}
            "ipxe" if before_dhcp => {
                self.rom_is_ipxe = true;
                self.reach(
                    draw,
                    Stage::Dhcp,
                    &format!("DHCP {message} of a ROM that is iPXE"),
                );
            }
            "ipxe" if self.rom_is_ipxe && self.stage() == Some(Stage::Dhcp) => {}
            "ipxe" => self.reach(draw, Stage::Ipxe, &format!("DHCP {message} of iPXE")),
            _ => self.reach(
                draw,
                Stage::Dhcp,
                &format!("DHCP {message} of the firmware"),
            ),
        }
    }

    /// Enters a stage of the network boot.
    fn reach(&mut self, draw: &mut Draw<'_>, stage: Stage, by: &str) {
        if self.booting_from_network() {
            self.enter(draw, stage, by);
        }
    }

    fn booting_from_network(&self) -> bool {
        self.proof == Proof::Wanted
    }

    /// The stage that cannot be passed without a file that was refused; `None` where clients ask for such files on
    /// healthy boots. iPXE asks for `autoexec.ipxe`, shim for `revocations.efi`, GRUB for many files over TFTP; and
    /// 32-bit iPXE can ask for negative ranges, which get 416.
    fn needed(
        &self,
        protocol: Protocol,
        role: ArtifactRole,
        path: &str,
        code: u16,
    ) -> Option<Stage> {
        if !self.booting_from_network() || file_name(path) == "autoexec.ipxe" {
            return None;
        }
        let absent = match protocol {
            Protocol::Http => matches!(code, 403 | 404 | 410),
            // RFC 1350: 1 is file not found, 2 is access violation.
            Protocol::Tftp => matches!(code, 1 | 2),
        };
        let stage = match (protocol, role) {
            (_, ArtifactRole::Kernel) => Stage::Kernel,
            (_, ArtifactRole::Initrd) => Stage::Initrd,
            (Protocol::Http, ArtifactRole::Nbp) => Stage::Nbp,
            (Protocol::Http, ArtifactRole::Script) => Stage::Script,
            (Protocol::Http, ArtifactRole::Image | ArtifactRole::ImageIndex) => Stage::Flash,
            (Protocol::Tftp, ArtifactRole::Nbp | ArtifactRole::Other) => {
                let early = self.stage().is_none_or(|stage| stage <= Stage::Nbp);
                let told = match &self.bootfile {
                    Some(told) => same_file(told, path),
                    None => role == ArtifactRole::Nbp,
                };
                return (absent && early && told).then_some(Stage::Nbp);
            }
            _ => return None,
        };
        absent.then_some(stage)
    }
}

fn file_name(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.to_ascii_lowercase()
}

/// Whether two TFTP names are one file: firmware adds a slash in front or turns slashes around.
fn same_file(told: &str, asked: &str) -> bool {
    let plain = |path: &str| path.replace('\\', "/").trim_start_matches('/').to_owned();
    plain(told) == plain(asked)
}
