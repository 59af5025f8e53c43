//! Boot options in a variable store of EDK2's, for virtual machines that are to boot one way and no other.

use std::io;
use std::path::Path;

/// Where Debian's OVMF has its empty variable store.
pub const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Where Debian's OVMF has its code.
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// How the firmware boots over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkBoot {
    /// PXE.
    Pxe6,
    /// HTTP Boot.
    Http6,
}

/// Bytes of a device path's nodes (UEFI 2.10 section 10.3), to its end.
fn device_path(by: NetworkBoot, slot: u8, mac: [u8; 6]) -> Vec<u8> {
    // PciRoot(0)/Pci(SLOT,0)
    let mut path = vec![2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0];
    path.extend([1, 1, 6, 0, 0, slot]);
    // MAC(address,1)
    path.extend([3, 11, 37, 0]);
    path.extend(mac);
    path.extend([0; 26]);
    path.push(1);
    // IPv6: both addresses, both ports, protocol and origin are 0; a prefix of 64 bits, no gateway.
    path.extend([3, 13, 60, 0]);
    path.extend([0; 39]);
    path.push(64);
    path.extend([0; 16]);
    if by == NetworkBoot::Http6 {
        path.extend([3, 24, 4, 0]);
    }
    path.extend([0x7f, 0xff, 4, 0]);
    path
}

/// Writes a copy of the firmware's empty variable store with boot options in it, tried in this order: by itself the
/// firmware would try other ways for minutes before HTTP over IPv6. The network card is `mac`, and has this
/// slot of the first PCI bus. Put PXE before HTTP: EDK2's HTTP Boot gives up at once while the card's link-local
/// address is not ready.
///
/// # Errors
/// The store cannot be read or written, or has something else where options go.
pub fn write_boot_options(
    to: &Path,
    order: &[NetworkBoot],
    slot: u8,
    mac: [u8; 6],
) -> io::Result<()> {
    const STORE: usize = 0x64;
    let mut variables = Vec::new();
    let mut numbers = Vec::new();
    for (number, by) in (0u8..).zip(order) {
        let path = device_path(*by, slot, mac);
        let mut option = 1u32.to_le_bytes().to_vec();
        option.extend(u16::try_from(path.len()).unwrap_or(0).to_le_bytes());
        option.extend("net6\0".encode_utf16().flat_map(u16::to_le_bytes));
        option.extend(path);
        variables.push((format!("Boot{number:04X}"), option));
        numbers.extend([number, 0]);
    }
    variables.push(("BootOrder".to_owned(), numbers));
    let mut store = std::fs::read(OVMF_VARS)?;
    let mut at = STORE;
    for (name, data) in variables {
        let bytes = variable(&name, &data);
        let place = store.get_mut(at..at + bytes.len());
        let place = place.filter(|place| place.iter().all(|byte| *byte == 0xff));
        let place = place.ok_or_else(|| io::Error::other("the variable store is not empty"))?;
        place.copy_from_slice(&bytes);
        at = (at + bytes.len()).next_multiple_of(4);
    }
    std::fs::write(to, store)
}

/// An authenticated variable as EDK2 keeps it (`Guid/VariableFormat.h`): non-volatile, for boot services and runtime.
fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    const GLOBAL: [u8; 16] = [
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c,
    ];
    let name: Vec<u8> = name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    let mut bytes = vec![0xaa, 0x55, 0x3f, 0, 7, 0, 0, 0];
    bytes.extend([0; 28]);
    bytes.extend(size(&name));
    bytes.extend(size(data));
    bytes.extend(GLOBAL);
    bytes.extend(name);
    bytes.extend(data);
    bytes
}
