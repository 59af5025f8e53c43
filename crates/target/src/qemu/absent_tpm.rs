//! A machine without a TPM says so at once.
//!
//! Where a PC has no TPM, its place in memory reads as ones, and firmware takes that for none (EDK2's
//! `TisPcPresenceCheck`). In QEMU it reads as zeros: OVMF takes that for a TPM that is not ready, and waits twice for
//! 750 ms (`TIS_TIMEOUT_A`), in PEI, before it knows that there is none. So a ROM full of ones is put there: the
//! option ROM of the entropy source, switched on while the CPU still waits. The firmware takes it away again when it
//! gives out addresses (PCI 3.0, section 6.2.5.2), finds no signature in it, and leaves it alone. A TPM that the operator
//! adds comes first at that place: QEMU's PCI space lies behind all other devices.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::qmp::Qmp;
use super::{Firmware, QemuConfig};
use crate::TargetError;
use crate::discovery::Arch;

/// Where the entropy source is on the first PCI bus.
const SLOT: u32 = 1;
/// Where a PC's TPM is (TCG PC Client Platform TPM Profile, section 6.5.1), with the bit that switches a ROM on.
const TPM_AND_ON: u32 = 0xfed4_0000 | 1;
/// Size of the ROM in bytes: what the TPM's first locality takes.
const SIZE: usize = 4096;
/// PCI's registers for the ROM's address and for what a function answers to, and there: to memory.
const ROM_ADDRESS: u32 = 0x30;
const COMMAND: u32 = 0x04;
const MEMORY: u32 = 2;

/// Whether the machine's firmware looks for a TPM that is not there.
fn looks(config: &QemuConfig) -> bool {
    matches!(&config.firmware, Firmware::Uefi(uefi) if uefi.arch == Arch::X86_64)
}

fn rom(config: &QemuConfig) -> PathBuf {
    config.work_dir.join(format!("{}-no-tpm.rom", config.name))
}

/// What the entropy source needs for it on QEMU's command line: its slot and its ROM.
pub(super) fn device(config: &QemuConfig) -> Option<(u32, PathBuf)> {
    looks(config).then(|| (SLOT, rom(config)))
}

/// Makes the ROM, for a power-on.
pub(super) async fn prepare(config: &QemuConfig) -> Result<(), TargetError> {
    if !looks(config) {
        return Ok(());
    }
    let path = rom(config);
    let written = tokio::fs::write(&path, [0xff; SIZE]).await;
    written.map_err(|source| TargetError::Io {
        action: format!("write `{}`", path.display()),
        source,
    })
}

/// Puts the ROM where a TPM would be. The CPU must not run yet. Where QEMU does not do it, the firmware only starts
/// more slowly.
pub(super) async fn show(config: &QemuConfig, qmp: &Qmp, limit: Duration) {
    if !looks(config) {
        return;
    }
    for (register, value) in [(ROM_ADDRESS, TPM_AND_ON), (COMMAND, MEMORY)] {
        // PCI's configuration by ports (PCI 3.0, section 3.2.2.3.2).
        let place = 1 << 31 | SLOT << 11 | register;
        for (port, value) in [(0xcf8, place), (0xcfc, value)] {
            let line = json!({ "command-line": format!("o /4x {port:#x} {value:#x}") });
            if qmp
                .execute("human-monitor-command", line, limit)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
