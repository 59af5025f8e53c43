//! Images cut into chunks, read back by the `zstd` program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a helper that fails fails its test"
)]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use bootgate_api::{Chunk, ChunkIndex, DEFAULT_CHUNK_SIZE};
use bootgate_media::{chunks, sha256_file};
use sha2::{Digest, Sha256};

const CHUNK: usize = 64 << 10;

/// Three chunks and a half: noise, zeros, text, a short end.
fn image() -> Vec<u8> {
    let mut state = 1u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let mut image: Vec<u8> = (0..CHUNK).map(|_| noise()).collect();
    image.resize(2 * CHUNK, 0);
    image.extend(b"text ".iter().cycle().take(CHUNK));
    image.extend((0..CHUNK / 2).map(|_| noise()));
    image
}

fn cut(folder: &Path, image: &[u8]) -> ChunkIndex {
    let raw = folder.join("image.raw");
    fs::write(&raw, image).unwrap();
    chunks::index_raw(&raw, &folder.join("image.zst"), CHUNK as u32, 512).unwrap()
}

#[test]
fn zstd_turns_the_chunks_back_into_the_image() {
    bootgate_testkit::require_commands!("zstd");
    let folder = tempfile::tempdir().unwrap();
    cut(folder.path(), &image());
    let output = Command::new("zstd")
        .arg("-dc")
        .arg(folder.path().join("image.zst"))
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == image());
}

#[test]
fn each_chunk_is_a_frame_of_its_own_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let image = image();
    let index = cut(folder.path(), &image);
    index.validate().unwrap();
    assert_eq!(index.chunks.len(), 4);
    assert_eq!(index.chunks[1], Chunk::Zero);
    let packed = fs::read(folder.path().join("image.zst")).unwrap();
    let mut all = Sha256::new();
    for (number, chunk) in index.chunks.iter().enumerate() {
        let (start, length) = index.span(number);
        let start = usize::try_from(start).unwrap();
        let plain = &image[start..start + length];
        let Chunk::Data {
            sha256,
            offset,
            length,
        } = chunk
        else {
            all.update([0; 32]);
            continue;
        };
        let offset = usize::try_from(*offset).unwrap();
        let frame = &packed[offset..offset + *length as usize];
        assert!(
            zstd::bulk::decompress(frame, CHUNK).unwrap() == plain,
            "chunk {number}"
        );
        assert_eq!(sha256.0, <[u8; 32]>::from(Sha256::digest(plain)));
        all.update(sha256.0);
    }
    assert_eq!(index.chunks_sha256.0, <[u8; 32]>::from(all.finalize()));
    assert_eq!(
        index.image_sha256,
        sha256_file(&folder.path().join("image.raw")).unwrap()
    );
}

#[test]
fn same_image_gives_the_same_files() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let made = folders.each_ref().map(|folder| {
        let raw = folder.path().join("image.raw");
        // More chunks than fit between reader and writer at a time.
        let image: Vec<u8> = (0..96u8).flat_map(|n| vec![n; CHUNK]).collect();
        fs::write(&raw, image).unwrap();
        let zst = folder.path().join("image.zst");
        let index = chunks::index_raw(&raw, &zst, CHUNK as u32, 4096).unwrap();
        (index, fs::read(zst).unwrap())
    });
    assert!(made[0] == made[1]);
    assert_eq!(made[0].0.chunks.len(), 96);
}

#[test]
fn index_and_image_are_written_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("image.raw");
    fs::write(&raw, image()).unwrap();
    let out = folder.path().join("deep/out");
    let (index, path) = chunks::write(&raw, &out, 512).unwrap();
    assert_eq!(index.chunk_size, DEFAULT_CHUNK_SIZE);
    let read: ChunkIndex = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(read, index);
    let mut back = Vec::new();
    chunks::reader(&out.join(chunks::DATA_NAME))
        .unwrap()
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == image());
}

#[test]
fn sizes_that_do_not_fit_are_refused_and_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("image.raw");
    let zst = folder.path().join("image.zst");
    let cases = [
        (0, 4096, 512, "image size `0`"),
        (513, 4096, 512, "image size `513`"),
        (512, 4096, 4096, "image size `512`"),
        (512, 0, 512, "chunk size `0`"),
        (512, 1000, 512, "chunk size `1000`"),
        (512, 4096, 520, "sector size `520`"),
    ];
    for (size, chunk_size, sector_size, text) in cases {
        fs::write(&raw, vec![1; size]).unwrap();
        let error = chunks::index_raw(&raw, &zst, chunk_size, sector_size).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn missing_image_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("none.raw");
    let error = chunks::index_raw(&raw, &folder.path().join("x"), 4096, 512).unwrap_err();
    assert!(error.to_string().contains("none.raw"), "{error}");
}
