//! Boot options in EDK2's variable store, for what its switches cannot say.
//!
//! The store is a firmware volume (PI 1.7 volume 3, section 3.2.1) with a `VARIABLE_STORE_HEADER` and authenticated
//! variables behind each other, each at a multiple of four (EDK2's `Guid/VariableFormat.h`).

use bootgate_events::MacAddr;
use thiserror::Error;

use super::devices::FIRST_NIC_SLOT;
use super::{NicLink, QemuConfig};

/// The option cannot be put into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NvramError {
    #[error("it is no store of authenticated variables")]
    Unknown,
    #[error("it has no room")]
    Full,
}

/// Where the firmware volume's header has its signature, and the length of the header.
const SIGNATURE: usize = 40;
const HEADER_LENGTH: usize = 48;
/// Length of the store's own header.
const STORE_HEADER: usize = 28;
/// gEfiAuthenticatedVariableGuid.
const STORE_GUID: [u8; 16] = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];
/// Length of a variable's header, and what is where in it.
const VARIABLE_HEADER: usize = 60;
const STATE: usize = 2;
const NAME_SIZE: usize = 36;
const DATA_SIZE: usize = 40;
/// The bits of a variable's state are cleared one by one: `VAR_ADDED`, and `VAR_ADDED & VAR_DELETED`.
const ADDED: u8 = 0x3f;
const DELETED: u8 = 0x3d;
/// Numbers of our boot options; far above those that firmware gives.
const FIRST_OPTION: u16 = 0x0b00;
/// How often HTTP Boot over IPv6 is tried: EDK2 gives up at once while the interface's link-local address is not ready,
/// which takes a second or two.
const TRIES: u16 = 4;

/// Makes HTTP Boot over IPv6 the first thing that is tried: by itself EDK2 would wait for a minute for HTTP over IPv4.
pub(super) fn put_http6_first(store: &mut [u8], config: &QemuConfig) -> Result<(), NvramError> {
    let mut order = Vec::new();
    let mut number = FIRST_OPTION;
    let (mut end, limit) = free_space(store, Some("BootOrder"))?;
    for (slot, nic) in (FIRST_NIC_SLOT..).zip(&config.nics) {
        if !matches!(nic.link, NicLink::Plugged(_)) {
            continue;
        }
        for _ in 0..TRIES {
            let option = load_option(&http6_path(slot, nic.mac));
            let name = format!("Boot{number:04X}");
            append(store, &mut end, limit, &variable(&name, &option))?;
            order.extend(number.to_le_bytes());
            number += 1;
        }
    }
    append(store, &mut end, limit, &variable("BootOrder", &order))
}

/// Tells EDK2's iSCSI driver that it has made its empty attempts, eight by default (`PcdMaxIScsiAttemptNumber`): by
/// itself it would write 9 KiB of them at a machine's first start (`IScsiCreateAttempts`), byte by byte to QEMU's
/// flash, which takes a second under TCG. Another number of attempts makes it write what is missing.
///
/// A store that knows of them stays as it is; those with Microsoft's keys come from a machine that was started.
pub(super) fn spare_iscsi_attempts(store: &mut [u8]) -> Result<(), NvramError> {
    /// gIScsiConfigGuid.
    const ISCSI: [u8; 16] = [
        0x16, 0xd6, 0x47, 0x4b, 0xd6, 0xa8, 0x52, 0x45, 0x9d, 0x44, 0xcc, 0xad, 0x2e, 0x0f, 0x4c,
        0xf9,
    ];
    const NAME: &str = "InitialAttemptOrder";
    let (mut end, limit) = free_space(store, None)?;
    let (used, name) = (store.get(..end).unwrap_or_default(), utf16(NAME));
    // Twice the same variable stops the firmware.
    if used.windows(name.len()).any(|part| part == name) {
        return Ok(());
    }
    let order = variable_of(&ISCSI, 3, NAME, &[1, 2, 3, 4, 5, 6, 7, 8]);
    append(store, &mut end, limit, &order)
}

/// Where the first free byte of the store is and where it ends. What is there of the name `replaced` is deleted.
fn free_space(store: &mut [u8], replaced: Option<&str>) -> Result<(usize, usize), NvramError> {
    let unknown = NvramError::Unknown;
    if store.get(SIGNATURE..SIGNATURE + 4) != Some(b"_FVH") {
        return Err(unknown);
    }
    let begin = usize::from(u16::from_le_bytes(
        array(store, HEADER_LENGTH).ok_or(unknown)?,
    ));
    if array(store, begin) != Some(STORE_GUID) {
        return Err(unknown);
    }
    let limit = begin + length(store, begin + 16).ok_or(unknown)?;
    let name = replaced.map(utf16);
    let mut at = begin + STORE_HEADER;
    while array(store, at) == Some([0xaa, 0x55]) {
        let name_size = length(store, at + NAME_SIZE).ok_or(unknown)?;
        let data_size = length(store, at + DATA_SIZE).ok_or(unknown)?;
        let begin = at + VARIABLE_HEADER;
        let same = store
            .get(begin..begin.saturating_add(name_size))
            .is_some_and(|found| name.as_deref() == Some(found));
        if let Some(state) = store.get_mut(at + STATE)
            && same
        {
            *state &= DELETED;
        }
        at = begin
            .saturating_add(name_size)
            .saturating_add(data_size)
            .next_multiple_of(4);
    }
    match at < limit && limit <= store.len() {
        true => Ok((at, limit)),
        false => Err(unknown),
    }
}

fn append(store: &mut [u8], end: &mut usize, limit: usize, bytes: &[u8]) -> Result<(), NvramError> {
    let next = (*end + bytes.len()).next_multiple_of(4);
    let place = store.get_mut(*end..*end + bytes.len());
    let free = |place: &&mut [u8]| next <= limit && place.iter().all(|byte| *byte == 0xff);
    let place = place.filter(free).ok_or(NvramError::Full)?;
    place.copy_from_slice(bytes);
    *end = next;
    Ok(())
}

/// A global variable (UEFI 2.10 section 3.3), non-volatile, for boot services and runtime.
fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    /// EFI_GLOBAL_VARIABLE.
    const GLOBAL: [u8; 16] = [
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c,
    ];
    variable_of(&GLOBAL, 7, name, data)
}

/// An authenticated variable.
fn variable_of(guid: &[u8; 16], attributes: u32, name: &str, data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    let mut bytes = vec![0xaa, 0x55, ADDED, 0];
    bytes.extend(attributes.to_le_bytes());
    // Monotonic count, time and public key of a variable that is written without authentication.
    bytes.extend([0; 28]);
    bytes.extend(size(&name));
    bytes.extend(size(data));
    bytes.extend(guid);
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

/// An active EFI_LOAD_OPTION (UEFI 2.10 section 3.1.3).
fn load_option(path: &[u8]) -> Vec<u8> {
    let mut option = 1u32.to_le_bytes().to_vec();
    option.extend(u16::try_from(path.len()).unwrap_or(0).to_le_bytes());
    option.extend(utf16("HTTP over IPv6"));
    option.extend(path);
    option
}

/// The device path (UEFI 2.10 section 10.3) of HTTP Boot over IPv6 on an interface of the first PCI bus.
fn http6_path(slot: u8, mac: MacAddr) -> Vec<u8> {
    // PciRoot(0)/Pci(SLOT,0)
    let mut path = vec![2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0];
    path.extend([1, 1, 6, 0, 0, slot]);
    // MAC(address,1)
    path.extend([3, 11, 37, 0]);
    path.extend(mac.0);
    path.extend([0; 26]);
    path.push(1);
    // IPv6: both addresses, both ports, protocol and origin are 0; a prefix of 64 bits, no gateway.
    path.extend([3, 13, 60, 0]);
    path.extend([0; 39]);
    path.push(64);
    path.extend([0; 16]);
    // Uri(), and the end.
    path.extend([3, 24, 4, 0]);
    path.extend([0x7f, 0xff, 4, 0]);
    path
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(array(bytes, at)?)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::accel::Accel;
    use crate::discovery::QemuBinary;
    use crate::qemu::{Firmware, FirmwareBoot, Nic, NicRom};

    fn config() -> QemuConfig {
        let nic = |link| Nic {
            model: "virtio-net-pci".to_owned(),
            rom: NicRom::Standard,
            mac: MacAddr([2, 0, 0, 0, 0, 7]),
            link,
        };
        let plugged = NicLink::Plugged(Arc::new(|| {
            Box::pin(async { Err(std::io::Error::other("no link here")) })
        }));
        QemuConfig {
            name: "client".into(),
            binary: QemuBinary {
                path: "/qemu".into(),
                version: String::new(),
            },
            firmware: Firmware::Bios,
            boot: FirmwareBoot::Http6,
            accel: Accel::Tcg,
            memory_mib: 512,
            cpus: 1,
            nics: vec![nic(NicLink::Dead), nic(plugged)],
            disk: None,
            work_dir: "/".into(),
            extra_args: Vec::new(),
        }
    }

    /// A store of 4 KiB with these variables.
    fn store(variables: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        bytes.extend(b"_FVH\0\0\0\0");
        bytes.extend(72u16.to_le_bytes());
        bytes.resize(72, 0);
        bytes.extend(STORE_GUID);
        bytes.extend(3000u32.to_le_bytes());
        bytes.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        for (name, data) in variables {
            bytes.extend(variable(name, data));
            bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        }
        bytes.resize(4096, 0xff);
        bytes
    }

    /// Names and data of the variables that count, in their order.
    fn variables(store: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut at = 100;
        let mut found = Vec::new();
        while array(store, at) == Some([0xaa, 0x55]) {
            let name = at + VARIABLE_HEADER;
            let data = name + length(store, at + NAME_SIZE).unwrap();
            let end = data + length(store, at + DATA_SIZE).unwrap();
            if store[at + STATE] == ADDED {
                let units = store[name..data - 2].chunks(2);
                let text: Vec<u16> = units
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .collect();
                found.push((
                    String::from_utf16(&text).unwrap(),
                    store[data..end].to_vec(),
                ));
            }
            at = end.next_multiple_of(4);
        }
        found
    }

    #[test]
    fn options_come_behind_what_is_there_and_replace_the_order() {
        let mut bytes = store(&[("BootOrder", &[0, 0]), ("Lang", b"eng")]);
        put_http6_first(&mut bytes, &config()).unwrap();
        let found = variables(&bytes);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Lang",
                "Boot0B00",
                "Boot0B01",
                "Boot0B02",
                "Boot0B03",
                "BootOrder"
            ]
        );
        assert_eq!(found[5].1, [0, 0x0b, 1, 0x0b, 2, 0x0b, 3, 0x0b]);
        // The second interface's slot and address.
        let path = http6_path(FIRST_NIC_SLOT + 1, MacAddr([2, 0, 0, 0, 0, 7]));
        assert!(found[1].1.ends_with(&path));
    }

    #[test]
    fn attempts_for_iscsi_are_said_to_be_there_and_the_order_of_options_stays() {
        let mut bytes = store(&[("BootOrder", &[0, 0])]);
        spare_iscsi_attempts(&mut bytes).unwrap();
        let found = variables(&bytes);
        assert_eq!(found[0], ("BootOrder".to_owned(), vec![0, 0]));
        let order = (1..=8).collect();
        assert_eq!(found[1], ("InitialAttemptOrder".to_owned(), order));
        // Of the driver's own namespace, for boot services alone, as it writes it.
        let at = 100 + variable("BootOrder", &[0, 0]).len().next_multiple_of(4);
        assert_eq!(bytes[at + 4..at + 8], [3, 0, 0, 0]);
        assert_eq!(bytes[at + 44..at + 48], [0x16, 0xd6, 0x47, 0x4b]);
        let before = bytes.clone();
        spare_iscsi_attempts(&mut bytes).unwrap();
        assert!(bytes == before, "never twice");
    }

    #[test]
    fn stores_that_are_none_and_full_ones_are_refused() {
        let error = put_http6_first(&mut [0; 4096], &config()).unwrap_err();
        assert_eq!(error, NvramError::Unknown);
        let error = put_http6_first(&mut [], &config()).unwrap_err();
        assert_eq!(error, NvramError::Unknown);
        let mut full = store(&[("Large", &[1; 2500])]);
        let error = put_http6_first(&mut full, &config()).unwrap_err();
        assert_eq!(error, NvramError::Full);
    }
}
