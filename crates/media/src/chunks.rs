//! Cutting a raw image into chunks that can be fetched one by one.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use bootgate_api::{Chunk, ChunkIndex, DEFAULT_CHUNK_SIZE, INDEX_SCHEMA, Sha256Hex};
use sha2::{Digest, Sha256};

use crate::{MediaError, digest, files};

/// Name of the chunk index that [`write()`] makes.
pub const INDEX_NAME: &str = "index.json";
/// Name of the compressed image that [`write()`] makes.
pub const DATA_NAME: &str = "image.zst";

/// Compression of the frames: a client decodes level 9 as fast as level 3, and gets fewer bytes.
const LEVEL: i32 = 9;

/// Cuts the raw image into chunks of `chunk_size` bytes, packs each as a zstd frame of its own, writes the frames one
/// after the other to `out_zst`, and returns the index. `zstd -d` turns the file back into the image.
///
/// `chunk_size` is a multiple of 4096 up to 64 MiB; `sector_size` is 512 or 4096. The image is read once, piece by
/// piece; a few chunks are in memory at a time.
///
/// # Errors
/// The image is empty or no multiple of the sector size, a size is out of range, or a file cannot be read or written.
/// The file is written under a temporary name and moved into place when it is complete.
pub fn index_raw(
    image: &Path,
    out_zst: &Path,
    chunk_size: u32,
    sector_size: u32,
) -> Result<ChunkIndex, MediaError> {
    let file = File::open(image).map_err(MediaError::io("open image", image))?;
    let size = file
        .metadata()
        .map_err(MediaError::io("look at image", image))?
        .len();
    let mut index = ChunkIndex {
        schema: INDEX_SCHEMA,
        size,
        sector_size,
        chunk_size,
        image_sha256: Sha256Hex([0; 32]),
        chunks_sha256: Sha256Hex([0; 32]),
        chunks: Vec::new(),
    };
    check_sizes(&index).map_err(|message| MediaError::input("cut the image", image, message))?;
    files::write_with(out_zst, |out| fill(&mut index, file, image, out, out_zst))?;
    Ok(index)
}

/// Makes [`DATA_NAME`] and [`INDEX_NAME`] in `out_dir` (created if needed) from a raw image, with chunks of the
/// default size, and returns the index and its path.
///
/// # Errors
/// As [`index_raw`].
pub fn write(
    image: &Path,
    out_dir: &Path,
    sector_size: u32,
) -> Result<(ChunkIndex, PathBuf), MediaError> {
    files::create_dir(out_dir)?;
    let index = index_raw(
        image,
        &out_dir.join(DATA_NAME),
        DEFAULT_CHUNK_SIZE,
        sector_size,
    )?;
    let path = out_dir.join(INDEX_NAME);
    files::write_with(&path, |file| {
        serde_json::to_writer(file, &index).map_err(io::Error::from)
    })?;
    Ok((index, path))
}

/// Reads the image back from the compressed file, first byte to last.
///
/// # Errors
/// The file cannot be opened. Faults in it come out of reading.
pub fn reader(zst: &Path) -> io::Result<impl Read + Send + use<>> {
    zstd::Decoder::new(File::open(zst)?)
}

/// What [`ChunkIndex::validate`] checks, before there are chunks.
fn check_sizes(index: &ChunkIndex) -> Result<(), String> {
    let mut whole = index.clone();
    if whole.chunk_size != 0 {
        let count = whole.size.div_ceil(u64::from(whole.chunk_size));
        whole.chunks = vec![Chunk::Zero; usize::try_from(count).unwrap_or(usize::MAX)];
    }
    whole.validate().map_err(|error| error.to_string())
}

/// A chunk on its way to a worker, and where its frame is to be sent.
type Job = (Vec<u8>, mpsc::SyncSender<io::Result<Packed>>);
/// Jobs that the workers share.
type Queue = Arc<Mutex<mpsc::Receiver<Job>>>;
/// Where the frame of a chunk will appear.
type Place = mpsc::Receiver<io::Result<Packed>>;

/// A packed chunk.
struct Packed {
    /// `None` for a chunk of zeros.
    digest: Option<Sha256Hex>,
    frame: Vec<u8>,
}

/// Reads, lets workers pack, and writes in order. The order is kept by a queue of the places where frames will
/// appear; the bound of that queue limits the memory.
fn fill(
    index: &mut ChunkIndex,
    image_file: File,
    image: &Path,
    out: &mut File,
    out_path: &Path,
) -> Result<(), MediaError> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    thread::scope(|scope| {
        let (places, frames) = mpsc::sync_channel(workers * 2);
        let (jobs, queue) = mpsc::sync_channel(workers);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue));
        }
        drop(queue);
        let (size, chunk_size) = (index.size, index.chunk_size);
        let reading = scope.spawn(move || read_all(image_file, size, chunk_size, &jobs, &places));
        let written = write_all(index, &frames, out);
        // Ends the reader, should the writer have failed.
        drop(frames);
        let read = reading
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        written.map_err(MediaError::io("write chunks to", out_path))?;
        index.image_sha256 = read.map_err(MediaError::io("read image", image))?;
        Ok(())
    })
}

/// Hands out the image chunk by chunk; returns its digest.
fn read_all(
    file: File,
    size: u64,
    chunk_size: u32,
    jobs: &mpsc::SyncSender<Job>,
    places: &mpsc::SyncSender<Place>,
) -> io::Result<Sha256Hex> {
    let mut digest = Sha256::new();
    let mut file = file.take(size);
    let mut left = size;
    while left > 0 {
        let length = left.min(u64::from(chunk_size));
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact(&mut chunk)?;
        digest.update(&chunk);
        left -= length;
        let (done, place) = mpsc::sync_channel(1);
        // Nobody takes them any more when the writer has failed, and then its error is the one that counts.
        if places.send(place).is_err() || jobs.send((chunk, done)).is_err() {
            break;
        }
    }
    Ok(Sha256Hex(digest.finalize().into()))
}

fn work(queue: &Queue) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, done)) = job else {
            return;
        };
        // The writer may have gone.
        let _ = done.send(pack(&chunk));
    }
}

fn pack(chunk: &[u8]) -> io::Result<Packed> {
    let zero = chunk.iter().all(|byte| *byte == 0);
    Ok(Packed {
        digest: (!zero).then(|| digest::sha256(chunk)),
        frame: zstd::bulk::compress(chunk, LEVEL)?,
    })
}

/// Writes the frames in the order of their places and fills the index.
fn write_all(
    index: &mut ChunkIndex,
    frames: &mpsc::Receiver<Place>,
    out: &mut File,
) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    let mut offset = 0;
    let mut digests = Sha256::new();
    for place in frames {
        let packed = place
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker ended early")))?;
        out.write_all(&packed.frame)?;
        digests.update(packed.digest.map_or([0; 32], |digest| digest.0));
        let length = u32::try_from(packed.frame.len()).map_err(io::Error::other)?;
        index.chunks.push(match packed.digest {
            None => Chunk::Zero,
            Some(sha256) => Chunk::Data {
                sha256,
                offset,
                length,
            },
        });
        offset += u64::from(length);
    }
    index.chunks_sha256 = Sha256Hex(digests.finalize().into());
    out.flush()
}
