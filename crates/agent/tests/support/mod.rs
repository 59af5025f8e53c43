//! An image, a disk to flash, and an HTTP server with faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]
#![allow(dead_code, reason = "each test program uses a part")]

pub mod machine;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bootgate_agent::server::Server;
use bootgate_api::{Chunk, ChunkIndex, INDEX_SCHEMA, Sha256Hex};
use sha2::{Digest, Sha256};

pub const CHUNK: usize = 64 << 10;
pub const NONCE: &str = "0123456789abcdef0123456789abcdef";
pub const DATA: &str = "/artifacts/disk.zst";

/// An image, its index and its compressed form.
pub struct Image {
    pub plain: Vec<u8>,
    pub index: ChunkIndex,
    pub packed: Vec<u8>,
}

/// Bytes that look random and differ by `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..length).map(|_| next()).collect()
}

/// One letter a chunk: `.` is zeros, others are noise seeded by the letter. `tail` bytes more make a short last chunk.
pub fn image(layout: &str, tail: usize) -> Image {
    let mut plain = Vec::new();
    for letter in layout.bytes() {
        match letter {
            b'.' => plain.resize(plain.len() + CHUNK, 0),
            seed => plain.extend(noise(seed.into(), CHUNK)),
        }
    }
    plain.extend(noise(1000, tail));
    pack(plain)
}

pub fn pack(plain: Vec<u8>) -> Image {
    pack_by(plain, CHUNK)
}

pub fn pack_by(plain: Vec<u8>, chunk_size: usize) -> Image {
    let mut packed = Vec::new();
    let mut over = Sha256::new();
    let mut chunks = Vec::new();
    for chunk in plain.chunks(chunk_size) {
        let frame = zstd::bulk::compress(chunk, 3).unwrap();
        if chunk.iter().all(|&byte| byte == 0) {
            chunks.push(Chunk::Zero);
            over.update([0; 32]);
        } else {
            let digest = Sha256::digest(chunk).into();
            over.update(digest);
            chunks.push(Chunk::Data {
                sha256: Sha256Hex(digest),
                offset: packed.len() as u64,
                length: frame.len().try_into().unwrap(),
            });
        }
        packed.extend(frame);
    }
    let index = ChunkIndex {
        schema: INDEX_SCHEMA,
        size: plain.len() as u64,
        sector_size: 512,
        chunk_size: chunk_size.try_into().unwrap(),
        image_sha256: Sha256Hex(Sha256::digest(&plain).into()),
        chunks_sha256: Sha256Hex(over.finalize().into()),
        chunks,
    };
    index.validate().unwrap();
    Image {
        plain,
        index,
        packed,
    }
}

impl Image {
    /// Where a chunk's frame is in the packed file.
    pub fn frame(&self, chunk: usize) -> (usize, usize) {
        match self.index.chunks[chunk] {
            Chunk::Data { offset, length, .. } => {
                (offset.try_into().unwrap(), length.try_into().unwrap())
            }
            Chunk::Zero => panic!("chunk {chunk} has no frame"),
        }
    }
}

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// First and last byte of the range asked for.
    pub range: Option<(usize, usize)>,
    pub body: Vec<u8>,
    /// Number of the connection, from 0.
    pub connection: usize,
}

/// What the server answers.
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    /// The connection is closed after this many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
            cut: None,
        }
    }

    /// The part of `file` that was asked for.
    pub fn range(request: &Request, file: &[u8]) -> Self {
        let (first, last) = request.range.expect("a range");
        let mut reply = Self::of(206, &file[first..=last]);
        reply.headers = format!("content-range: bytes {first}-{last}/{}\r\n", file.len());
        reply
    }
}

type Handler = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// A server on loopback; it ends with the test program.
pub struct TestServer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl TestServer {
    /// `handler` gets each request with its number, from 0.
    pub fn start(handler: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared: Arc<Handler> = Arc::new(handler);
        let log = seen.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (handler, log) = (shared.clone(), log.clone());
                std::thread::spawn(move || serve(connection, &stream, &handler, &log));
            }
        });
        Self { address, seen }
    }

    /// A server that gives out this file and nothing else.
    pub fn of_image(image: &Image) -> Self {
        let packed = image.packed.clone();
        Self::start(move |_, request| Reply::range(request, &packed))
    }

    pub fn client(&self) -> Server {
        Server::new(self.address, NONCE.into())
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The ranges asked for, sorted.
    pub fn ranges(&self) -> Vec<(usize, usize)> {
        let mut ranges: Vec<_> = self.seen().iter().filter_map(|r| r.range).collect();
        ranges.sort_unstable();
        ranges
    }
}

fn serve(
    connection: usize,
    stream: &TcpStream,
    handler: &Arc<Handler>,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = read_request(connection, &mut reader)?;
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let reply = handler(number, &request);
        let head = format!(
            "HTTP/1.1 {} Text\r\ncontent-length: {}\r\n{}\r\n",
            reply.status,
            reply.body.len(),
            reply.headers
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        let upto = reply.cut.unwrap_or(reply.body.len());
        stream.write_all(&reply.body[..upto]).ok()?;
        if reply.cut.is_some() {
            stream.shutdown(std::net::Shutdown::Both).ok()?;
            return None;
        }
    }
}

fn read_request(connection: usize, reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|&count| count > 0)?;
    let mut words = line.split(' ');
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        range: None,
        body: Vec::new(),
        connection,
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "range" => {
                let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                request.range = Some((first.parse().ok()?, last.parse().ok()?));
            }
            _ => {}
        }
    }
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
