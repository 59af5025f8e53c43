//! The host's proof that the disk holds the image.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bootgate_events::{ByteRange, DiskProofKind, EventKind};
use sha2::{Digest, Sha256};

const BLOCK: usize = 1 << 20;

/// Compares the first bytes of `disk` with all of `image`, byte for byte, and digests both on the way.
///
/// The comparison covers the whole image; a disk longer than the image is compared up to the image's end, and the
/// event says so by its range.
///
/// # Errors
/// Where either file cannot be read. A disk shorter than the image is a difference, not an error.
pub fn compare(disk: &Path, image: &mut dyn Read) -> io::Result<EventKind> {
    let mut disk = File::open(disk)?;
    let (mut image_block, mut disk_block) = (vec![0; BLOCK], vec![0; BLOCK]);
    let (mut image_digest, mut disk_digest) = (Sha256::new(), Sha256::new());
    let mut position = 0u64;
    let mut first_difference = None;
    loop {
        let wanted = read_full(image, &mut image_block)?;
        if wanted == 0 {
            break;
        }
        let got = read_full(&mut disk, &mut disk_block[..wanted])?;
        image_digest.update(&image_block[..wanted]);
        disk_digest.update(&disk_block[..got]);
        if first_difference.is_none() && image_block[..wanted] != disk_block[..got] {
            let same = image_block
                .iter()
                .zip(&disk_block[..got])
                .take_while(|(a, b)| a == b);
            first_difference = Some(position + same.count() as u64);
        }
        position += wanted as u64;
    }
    Ok(EventKind::DiskCompared {
        proof: DiskProofKind::Host,
        equal: first_difference.is_none(),
        first_difference,
        ranges: vec![ByteRange {
            start: 0,
            end: position,
        }],
        image_sha256: hex::encode(image_digest.finalize()),
        disk_sha256: hex::encode(disk_digest.finalize()),
    })
}

/// Reads until `block` is full or the file ends; the number of bytes read.
fn read_full(file: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(disk: &[u8], image: &[u8]) -> (bool, Option<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, disk).unwrap();
        match compare(&path, &mut &*image).unwrap() {
            EventKind::DiskCompared {
                equal,
                first_difference,
                ..
            } => (equal, first_difference),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_disk_is_equal_to_its_image_up_to_the_images_end() {
        let image = vec![7; BLOCK + 512];
        let mut disk = image.clone();
        disk.extend_from_slice(&[0; 4096]);
        assert_eq!(compared(&disk, &image), (true, None));
    }

    #[test]
    fn the_first_difference_is_told_across_blocks() {
        let image = vec![7; 2 * BLOCK];
        let mut disk = image.clone();
        disk[BLOCK + 3] = 8;
        disk[BLOCK + 9] = 8;
        assert_eq!(compared(&disk, &image), (false, Some(BLOCK as u64 + 3)));
    }

    #[test]
    fn a_short_disk_differs_where_it_ends() {
        assert_eq!(compared(&[7; 512], &[7; 1024]), (false, Some(512)));
    }
}
