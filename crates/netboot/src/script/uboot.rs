//! U-Boot's scripts, in the envelope in which it takes them over the network.

/// The script that has U-Boot look for its machine's configuration (`ipxe-scripts/loaders/uboot-start.cmd`).
const START: &str = include_str!("../../../../ipxe-scripts/loaders/uboot-start.cmd");

/// `IH_MAGIC` of U-Boot's `include/image.h`.
const MAGIC: u32 = 0x2705_1956;
/// `IH_OS_LINUX`, `IH_ARCH_ARM64`, `IH_TYPE_SCRIPT`, `IH_COMP_NONE`. Of a script, U-Boot looks at the type alone.
const KIND: [u8; 4] = [5, 22, 6, 0];
/// Length of the header, and where its own checksum stands.
const HEADER: usize = 64;
const HEADER_CHECKSUM: std::ops::Range<usize> = 4..8;

/// What U-Boot's distribution boot asks for as `boot.scr.uimg`: a legacy image (`struct legacy_img_hdr`) of one script, which
/// starts `pxe get` and `pxe boot`.
#[must_use]
pub fn uboot_start() -> Vec<u8> {
    let text = START.as_bytes();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    // A table of the scripts' lengths, ended by 0, comes before them.
    let mut data = length(text).to_be_bytes().to_vec();
    data.extend([0; 4]);
    data.extend(text);
    let mut image = Vec::with_capacity(HEADER + data.len());
    // Magic, checksum of the header (below), time, length, load address, entry point, checksum of the data.
    for word in [MAGIC, 0, 0, length(&data), 0, 0, crc32(&data)] {
        image.extend(word.to_be_bytes());
    }
    image.extend(KIND);
    let mut name = b"bootgate".to_vec();
    name.resize(HEADER - image.len(), 0);
    image.extend(name);
    let checksum = crc32(&image);
    if let Some(place) = image.get_mut(HEADER_CHECKSUM) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    image.extend(data);
    image
}

/// The checksum of zlib (RFC 1952 section 8).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_everybody() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_script_stands_behind_header_and_table() {
        let image = uboot_start();
        let (header, data) = image.split_at(HEADER);
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(12) as usize), (MAGIC, data.len()));
        assert_eq!(word(24), crc32(data));
        let mut blank = header.to_vec();
        blank[HEADER_CHECKSUM].fill(0);
        assert_eq!(word(4), crc32(&blank));
        assert_eq!(&header[28..32], &KIND);
        assert_eq!(data[4..8], [0; 4]);
        assert_eq!(&data[8..], START.as_bytes());
    }
}
