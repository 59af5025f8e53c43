//! Flashing a file in a disk's place, from a real HTTP server with faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]

mod support;

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bootgate_agent::flash::{DiskFile, FlashError, Flashed, Medium, Options, flash, is_zero};
use bootgate_agent::halt::Retry;
use bootgate_agent::progress::Meter;
use bootgate_api::{Chunk, Sha256Hex};
use bootgate_events::Stage;
use support::{CHUNK, DATA, Image, Reply, TestServer, image, noise, pack_by};

/// What is wiped at a disk's start.
const START: usize = 68 << 10;

/// A disk in a file that notes what is written and can be made to fail.
struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: DiskFile,
    writes: Mutex<Vec<(u64, usize)>>,
    /// Writes from this number on fail.
    fails_at: AtomicUsize,
    /// Writes to this byte are forgotten, as by a disk that lies.
    forgets: Option<u64>,
}

impl Disk {
    fn with(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, content).unwrap();
        Self {
            file: DiskFile::open(&path).unwrap(),
            path,
            _folder: folder,
            writes: Mutex::default(),
            fails_at: AtomicUsize::new(usize::MAX),
            forgets: None,
        }
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn writes(&self) -> Vec<(u64, usize)> {
        self.writes.lock().unwrap().clone()
    }

    /// Neither boot code, nor a partition table, nor the second header that firmware would restore it from.
    fn assert_unfinished(&self) {
        let content = self.content();
        assert_eq!(content[..CHUNK], vec![0; CHUNK], "the start is wiped");
        let last = content.len() - 512;
        assert_eq!(content[last..], [0; 512], "the last sector is wiped");
    }
}

impl Medium for Disk {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut writes = self.writes.lock().unwrap();
        if writes.len() >= self.fails_at.load(Ordering::Relaxed) {
            return Err(io::Error::other("medium error"));
        }
        writes.push((offset, bytes.len()));
        if self.forgets == Some(offset) {
            return Ok(());
        }
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

const RETRY: Retry = Retry {
    attempts: 3,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(2),
};

fn run(
    image: &Image,
    disk: &Disk,
    server: &TestServer,
    threads: usize,
) -> Result<Flashed, FlashError> {
    let client = server.client();
    let options = Options {
        connections: threads,
        retry: RETRY,
    };
    let meter = Meter::default();
    let result = flash(&image.index, disk, &client.image(DATA), &meter, options);
    if result.is_ok() {
        let now = meter.now().unwrap();
        assert_eq!((now.done, now.total), (image.index.size, image.index.size));
    }
    result
}

/// A disk that holds another, finished image.
fn used(length: usize) -> Disk {
    Disk::with(&noise(77, length))
}

#[test]
fn a_blank_disk_becomes_the_image() {
    for threads in [1, 4] {
        let image = image("ab..cdef.gh...i..jk", 3 * 512);
        let disk = Disk::with(&vec![0; image.plain.len()]);
        let server = TestServer::of_image(&image);
        let flashed = run(&image, &disk, &server, threads).unwrap();
        assert!(disk.content() == image.plain);
        assert_eq!(flashed.chunks_sha256, image.index.chunks_sha256);
        assert_eq!(flashed.size, image.plain.len() as u64);
        assert!(flashed.first_fetch.is_some());
        // 11 whole chunks and the short one; zeros are neither fetched nor written.
        assert_eq!(flashed.bytes_written, (11 * CHUNK + 3 * 512) as u64);
        assert!(flashed.bytes_fetched <= image.packed.len() as u64);
        let connections = server.seen().iter().map(|r| r.connection).max().unwrap() + 1;
        assert!(connections <= threads, "{connections} connections");
    }
}

#[test]
fn a_used_disk_becomes_the_image() {
    for layout in ["ab..cd.", "a", ".a.", "...", ".b", "c."] {
        let image = image(layout, 512);
        let disk = used(image.plain.len() + 4 * CHUNK);
        let rest = disk.content().split_off(image.plain.len());
        let server = TestServer::of_image(&image);
        run(&image, &disk, &server, 2).unwrap();
        let (start, after) = (disk.content(), disk.content().split_off(image.plain.len()));
        assert!(start[..image.plain.len()] == image.plain, "{layout}");
        // Behind the image nothing changes but the last sector.
        let kept = rest.len() - 512;
        assert!(after[..kept] == rest[..kept] && after[kept..] == [0; 512]);
    }
}

#[test]
fn an_equal_disk_is_only_read() {
    let image = image("ab.c", 0);
    let disk = Disk::with(&image.plain);
    let server = TestServer::of_image(&image);
    let flashed = run(&image, &disk, &server, 2).unwrap();
    assert_eq!((flashed.bytes_fetched, flashed.bytes_written), (0, 0));
    assert!(flashed.first_fetch.is_none());
    assert_eq!(flashed.chunks_sha256, image.index.chunks_sha256);
    assert_eq!((server.seen().len(), disk.writes().len()), (0, 0));
}

#[test]
fn only_chunks_that_differ_are_fetched() {
    let image = image("abcdefgh", 0);
    let mut old = image.plain.clone();
    old[2 * CHUNK + 5] ^= 1;
    old[3 * CHUNK] ^= 1;
    old[6 * CHUNK + CHUNK - 1] ^= 1;
    let disk = Disk::with(&old);
    let server = TestServer::of_image(&image);
    let flashed = run(&image, &disk, &server, 1).unwrap();
    assert!(disk.content() == image.plain);
    // Chunks 2 and 3 are neighbours: one request.
    let (from, _) = image.frame(2);
    let (third, length) = image.frame(3);
    let (sixth, sixth_length) = image.frame(6);
    let wanted = [
        (from, third + length - 1),
        (sixth, sixth + sixth_length - 1),
    ];
    assert_eq!(server.ranges(), wanted);
    let bytes = third + length - from + sixth_length;
    assert_eq!(flashed.bytes_fetched, bytes as u64);
}

#[test]
fn the_first_chunk_is_written_last() {
    let image = image("ab.cdefg", 512);
    let disk = used(image.plain.len());
    let server = TestServer::of_image(&image);
    run(&image, &disk, &server, 3).unwrap();
    let writes = disk.writes();
    let end = image.plain.len() as u64;
    // First the wipes, then everything between, then the ends.
    assert_eq!(writes[0], (end - 512, 512));
    assert_eq!(writes[1], (0, CHUNK));
    let tail = &writes[writes.len() - 2..];
    assert_eq!(tail, [(8 * CHUNK as u64, 512), (0, CHUNK)]);
    let between = &writes[2..writes.len() - 2];
    assert!(
        between
            .iter()
            .all(|&(at, _)| at >= CHUNK as u64 && at < 8 * CHUNK as u64)
    );
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let image = image("abcdefgh", 0);
    let packed = image.packed.clone();
    let server = TestServer::start(move |number, request| {
        let mut reply = Reply::range(request, &packed);
        if number < 5 {
            // In the middle of a frame, after whole ones for the longer ranges.
            reply.cut = Some(reply.body.len() / 2);
        }
        reply
    });
    let disk = used(image.plain.len());
    let flashed = run(&image, &disk, &server, 1).unwrap();
    assert!(disk.content() == image.plain);
    let seen = server.seen();
    for (cut, next) in seen.iter().zip(&seen[1..]).take(5) {
        let (first, last) = cut.range.unwrap();
        let came = (last - first).div_ceil(2);
        // The next request of the same run begins after what came.
        if next.range.unwrap().1 == last {
            assert_eq!(next.range.unwrap().0, first + came);
        }
    }
    assert_eq!(
        flashed.bytes_fetched,
        image.packed.len() as u64,
        "nothing came twice"
    );
}

#[test]
fn a_gap_that_breaks_is_no_part_of_a_frame() {
    // The zero chunk between has a small frame of its own, which is passed over.
    let image = image("za.bz", 0);
    let (start, length) = image.frame(1);
    let gap = start + length + 3;
    let packed = image.packed.clone();
    let server = TestServer::start(move |_, request| {
        let mut reply = Reply::range(request, &packed);
        let (first, last) = request.range.unwrap();
        if first < gap && last > gap && first >= start {
            reply.cut = Some(gap - first);
        }
        reply
    });
    let disk = Disk::with(&vec![0; image.plain.len()]);
    run(&image, &disk, &server, 1).unwrap();
    assert!(disk.content() == image.plain);
    assert!(
        server
            .ranges()
            .contains(&(image.frame(3).0, image.packed.len() - 1))
    );
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let image = image("abcd", 0);
    let packed = image.packed.clone();
    let server = TestServer::start(move |_, request| {
        let mut reply = Reply::range(request, &packed);
        reply.cut = Some(0);
        reply
    });
    let disk = used(image.plain.len());
    let error = run(&image, &disk, &server, 1).unwrap_err();
    assert!(matches!(error, FlashError::Fetch { .. }), "{error}");
    assert_eq!(error.stage(), Stage::Flash);
    assert_eq!(server.seen().len(), 3, "as often as the retry says");
    disk.assert_unfinished();
}

#[test]
fn a_missing_image_fails_at_once() {
    let image = image("abcd", 0);
    let server = TestServer::start(|_, _| Reply::of(404, "no such artifact"));
    let disk = used(image.plain.len());
    let error = run(&image, &disk, &server, 1).unwrap_err().to_string();
    assert!(error.contains("`404 Not Found`"), "{error}");
    assert_eq!(server.seen().len(), 1);
    disk.assert_unfinished();
}

#[test]
fn a_server_without_ranges_is_refused() {
    let image = image("abcd", 0);
    let packed = image.packed.clone();
    let server = TestServer::start(move |_, _| Reply::of(200, packed.clone()));
    let disk = Disk::with(&vec![0; image.plain.len()]);
    let error = run(&image, &disk, &server, 1).unwrap_err().to_string();
    assert!(error.contains("`200 OK` with content range ``"), "{error}");
}

#[test]
fn a_passing_fault_of_the_server_is_passed() {
    let image = image("abcd", 0);
    let packed = image.packed.clone();
    let server = TestServer::start(move |number, request| match number {
        0 => Reply::of(503, "later"),
        _ => Reply::range(request, &packed),
    });
    let disk = Disk::with(&vec![0; image.plain.len()]);
    run(&image, &disk, &server, 1).unwrap();
    assert!(disk.content() == image.plain);
}

/// For each chunk: whatever is wrong with it, the disk does not look finished.
#[test]
fn a_corrupt_chunk_leaves_no_finished_disk() {
    for chunk in [0, 1, 3, 5] {
        for threads in [1, 3] {
            let mut image = image("abcdef", 0);
            let Chunk::Data { sha256, .. } = &mut image.index.chunks[chunk] else {
                panic!("chunk {chunk} has data");
            };
            *sha256 = Sha256Hex([chunk.try_into().unwrap(); 32]);
            image.index.chunks_sha256 = support_digest(&image);
            let server = TestServer::of_image(&image);
            let disk = used(image.plain.len());
            let error = run(&image, &disk, &server, threads).unwrap_err();
            let FlashError::Corrupt { chunk: found, .. } = error else {
                panic!("{error}");
            };
            assert_eq!((found, error.stage()), (chunk, Stage::Flash));
            disk.assert_unfinished();
        }
    }
}

fn support_digest(image: &Image) -> Sha256Hex {
    use sha2::{Digest, Sha256};
    let mut over = Sha256::new();
    for chunk in &image.index.chunks {
        match chunk {
            Chunk::Zero => over.update([0; 32]),
            Chunk::Data { sha256, .. } => over.update(sha256.0),
        }
    }
    Sha256Hex(over.finalize().into())
}

#[test]
fn bytes_that_are_no_frame_leave_no_finished_disk() {
    let mut image = image("abcdef", 0);
    let (start, length) = image.frame(3);
    image.packed[start..start + length].fill(0x55);
    let server = TestServer::of_image(&image);
    let disk = used(image.plain.len());
    let error = run(&image, &disk, &server, 2).unwrap_err();
    assert!(
        matches!(error, FlashError::Decode { chunk: 3, .. }),
        "{error}"
    );
    disk.assert_unfinished();
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let image = image("abcdef", 0);
    for chunk in [0, 2, 5] {
        let mut disk = used(image.plain.len());
        disk.forgets = Some((chunk * CHUNK) as u64);
        let server = TestServer::of_image(&image);
        let error = run(&image, &disk, &server, 2).unwrap_err();
        let wanted = chunk;
        assert!(
            matches!(error, FlashError::ReadBack { chunk, .. } if chunk == wanted),
            "{error}"
        );
        assert_eq!(error.stage(), Stage::Verify);
        if chunk != 0 {
            assert_eq!(disk.content()[..CHUNK], vec![0; CHUNK]);
        }
    }
}

/// The power may fail after any write: until the last one, the disk does not look finished.
#[test]
fn no_moment_of_a_flash_looks_finished() {
    let image = image("ab.cde", 0);
    let server = TestServer::of_image(&image);
    let whole = used(image.plain.len());
    run(&image, &whole, &server, 1).unwrap();
    let count = whole.writes().len();
    for stop in 1..count {
        let disk = used(image.plain.len());
        disk.fails_at.store(stop, Ordering::Relaxed);
        let error = run(&image, &disk, &server, 1).unwrap_err();
        assert!(matches!(error, FlashError::Write { .. }), "{error}");
        // The first write wipes the second header; from the second write on the start is wiped too.
        let content = disk.content();
        let last = content.len() - 512;
        if stop >= 2 {
            assert_eq!(content[..CHUNK], vec![0; CHUNK], "after {stop} writes");
        }
        if stop < count - 1 {
            assert_eq!(content[last..], [0; 512], "after {stop} writes");
        }
        // Another attempt makes it whole.
        disk.fails_at.store(usize::MAX, Ordering::Relaxed);
        run(&image, &disk, &server, 1).unwrap();
        assert!(disk.content() == image.plain);
    }
}

/// Firmware restores a partition table from the last sector, and uses the one at the start. Whenever the power fails,
/// neither is there unless all that they point to is.
#[test]
fn no_table_is_on_the_disk_before_all_that_it_points_to() {
    for chunks in [1, 5] {
        let image = pack_by(noise(7, chunks * 2 * CHUNK), 2 * CHUNK);
        let server = TestServer::of_image(&image);
        let whole = used(image.plain.len());
        run(&image, &whole, &server, 1).unwrap();
        let count = whole.writes().len();
        let last = image.plain.len() - 512;
        for stop in 2..count {
            let disk = used(image.plain.len());
            disk.fails_at.store(stop, Ordering::Relaxed);
            run(&image, &disk, &server, 1).unwrap_err();
            let content = disk.content();
            assert!(is_zero(&content[..START]), "after {stop} of {count} writes");
            if !is_zero(&content[last..]) {
                assert!(
                    content[START..] == image.plain[START..],
                    "after {stop} of {count} writes of {chunks} chunks"
                );
            }
        }
    }
}

#[test]
fn ends_that_cannot_be_read_back_are_wiped_again() {
    let image = pack_by(noise(8, 6 * CHUNK), 2 * CHUNK);
    // What is behind the disk's start, and the last chunk.
    for forgotten in [START, 4 * CHUNK] {
        let mut disk = used(image.plain.len());
        disk.forgets = Some(forgotten as u64);
        let server = TestServer::of_image(&image);
        let error = run(&image, &disk, &server, 2).unwrap_err();
        assert!(matches!(error, FlashError::ReadBack { .. }), "{error}");
        disk.assert_unfinished();
    }
}

#[test]
fn an_index_that_contradicts_itself_changes_nothing() {
    let server = TestServer::start(|_, _| Reply::of(500, ""));
    let refused = |change: fn(&mut Image), size: usize| {
        let mut image = image("ab.c", 0);
        change(&mut image);
        let disk = used(size);
        let error = run(&image, &disk, &server, 1).unwrap_err();
        assert_eq!(disk.writes(), []);
        error.to_string()
    };
    let size = 4 * CHUNK;
    let digest = refused(|image| image.index.chunks_sha256 = Sha256Hex([0; 32]), size);
    assert!(digest.contains("its chunks have digest"), "{digest}");
    let count = refused(|image| image.index.chunks.truncate(3), size);
    assert!(count.contains("lists `3` chunks"), "{count}");
    let frame = refused(
        |image| {
            if let Chunk::Data { length, .. } = &mut image.index.chunks[1] {
                *length = u32::MAX;
            }
        },
        size,
    );
    assert!(frame.contains("chunk `1` has a frame"), "{frame}");
    let small = refused(|_| (), size - 512);
    assert!(small.contains("the disk `261632`"), "{small}");
    assert_eq!(server.seen(), []);
}
