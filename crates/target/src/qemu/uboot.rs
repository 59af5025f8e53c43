//! U-Boot's environment, as it keeps it in flash: a CRC-32 over `NAME=VALUE` strings that end with a NUL each, and
//! zeros to the end (U-Boot's `include/env_internal.h`).

use super::{DiskBus, FirmwareBoot, Nic, QemuConfig};
use crate::BootSource;

/// Size of the environment of U-Boot for QEMU's `virt` machine (`CONFIG_ENV_SIZE`, `configs/qemu_arm64_defconfig`).
const SIZE: usize = 0x4_0000;

/// The environment for one power-on. Its one command takes the environment that U-Boot is built with, and adds what a
/// board's owner would have saved: from what to boot, and `pxe`, which the built-in order does not have.
pub(super) fn environment(config: &QemuConfig, boot: BootSource) -> Vec<u8> {
    let order = boot_targets(config, boot).join(" ");
    let pxe =
        "run boot_pci_enum; setenv autoload no; if dhcp; then if pxe get; then pxe boot; fi; fi";
    let addresses = addresses(config);
    let command = format!(
        "env default -a; {addresses}setenv bootcmd_pxe '{pxe}'; setenv bootcmd_usb1 'devnum=1; run usb_boot'; \
         setenv boot_targets {order}; run distro_bootcmd"
    );
    block(&[("bootcmd", &command), ("bootdelay", "0")])
}

/// The interfaces' addresses, which the default environment does not have: `pxe get` asks for its configuration by
/// `ethaddr`. U-Boot 2023.01 also reads them wrongly from a virtio interface with legacy registers, which is what QEMU
/// has: six times the first byte.
fn addresses(config: &QemuConfig) -> String {
    // Those that it has no driver for get no number.
    let drives = |nic: &&Nic| nic.model.starts_with("virtio-net") || nic.model == "e1000";
    let driven = config.nics.iter().filter(drives);
    driven
        .enumerate()
        .map(|(index, nic)| match index {
            0 => format!("setenv ethaddr {}; ", nic.mac),
            _ => format!("setenv eth{index}addr {}; ", nic.mac),
        })
        .collect()
}

/// U-Boot's names of what it boots from.
fn boot_targets(config: &QemuConfig, boot: BootSource) -> Vec<&'static str> {
    let disk = config.disk.as_ref().map(|disk| match disk.bus {
        DiskBus::Virtio => "virtio0",
        DiskBus::Nvme => "nvme0",
        DiskBus::Sata | DiskBus::Scsi => "scsi0",
        DiskBus::Usb => "usb0",
    });
    let next = match (boot, &config.boot) {
        (BootSource::Disk, _) => None,
        (BootSource::Network, FirmwareBoot::Usb(_)) if disk == Some("usb0") => Some("usb1"),
        (BootSource::Network, FirmwareBoot::Usb(_)) => Some("usb0"),
        (BootSource::Network, _) => Some("pxe"),
    };
    disk.into_iter().chain(next).collect()
}

fn block(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::with_capacity(SIZE);
    for (name, value) in variables {
        data.extend(format!("{name}={value}\0").bytes());
    }
    data.resize(SIZE - 4, 0);
    let mut block = crc32(&data).to_le_bytes().to_vec();
    block.extend(data);
    block
}

/// CRC-32 as in Ethernet and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::{SIZE, block, crc32};

    #[test]
    fn an_environment_begins_with_the_sum_of_the_rest() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let bytes = block(&[("bootdelay", "0"), ("a", "b c")]);
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(bytes[..4], crc32(&bytes[4..]).to_le_bytes());
        assert!(bytes[4..].starts_with(b"bootdelay=0\0a=b c\0\0"));
    }
}
