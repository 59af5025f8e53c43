//! Bytes on their way to the server, whatever breaks in between.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{UploadEnd, UploadInfo, UploadOrder, Uploaded, paths};
use bootgate_report::words::bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};

use super::progress::Work;
use crate::client::{Client, Trouble};

/// Bytes of a piece that is read at once.
const PIECE: usize = 256 << 10;
/// Pieces read ahead.
const AHEAD: usize = 4;
/// Bytes sent in one request: each makes them durable.
const PART: u64 = 32 << 20;
/// Time between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Where bytes come from. A source that broke off is opened again where it is to go on.
pub(crate) trait Source: Send + Sync {
    /// The bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// Whether it is of use to try again, and why it failed.
    fn open(&self, offset: u64) -> Result<Box<dyn Read + Send>, Broken>;

    /// What it is called.
    fn name(&self) -> String;
}

/// A source that does not give its bytes.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) error: String,
    /// Whether it may be better later.
    pub(crate) passing: bool,
}

/// A file of this host.
pub(crate) struct LocalFile(pub(crate) PathBuf);

impl Source for LocalFile {
    fn open(&self, offset: u64) -> Result<Box<dyn Read + Send>, Broken> {
        let open = || -> io::Result<File> {
            let mut file = File::open(&self.0)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Broken {
                error: error.to_string(),
                passing: false,
            }),
        }
    }

    fn name(&self) -> String {
        format!("`{}`", self.0.display())
    }
}

/// Digest and size of a file of this host.
pub(crate) async fn digest(path: &Path) -> Result<(Sha256Hex, u64), Trouble> {
    let (owned, shown) = (path.to_owned(), path.display().to_string());
    let read = tokio::task::spawn_blocking(move || digest_now(&owned)).await;
    let read = read.map_err(io::Error::other).and_then(|read| read);
    read.map_err(|error| Trouble::usage(format!("read `{shown}`: {error}"), ""))
}

fn digest_now(path: &Path) -> io::Result<(Sha256Hex, u64)> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut work = Work::new(format!("read {}", path.display()), Some(meta.len()));
    let (mut sha256, mut size) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((Sha256Hex(sha256.finalize().into()), size));
        }
        sha256.update(piece.get(..count).unwrap_or_default());
        size += count as u64;
        work.at(size);
    }
}

/// How a source ended.
type Over = Result<(), Broken>;

/// What became of one part.
#[derive(Default)]
struct Sent {
    bytes: u64,
    over: Option<Over>,
}

/// What is read ahead, by a thread of its own.
struct Feed {
    pieces: Arc<Mutex<mpsc::Receiver<Result<Bytes, Broken>>>>,
    /// Where its next piece begins.
    at: u64,
}

impl Feed {
    fn open(source: &Arc<dyn Source>, at: u64) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let source = Arc::clone(source);
        // It ends when nobody takes its pieces any more. One that hangs holds nobody up.
        std::thread::spawn(move || {
            if let Err(broken) = feed(&*source, at, &sender) {
                let _ = sender.blocking_send(Err(broken));
            }
        });
        let pieces = Arc::new(Mutex::new(pieces));
        Self { pieces, at }
    }

    /// A body of the next bytes, and what becomes of them. A source that breaks ends the body: what came is kept.
    fn part(&self) -> (Body, Arc<Mutex<Sent>>) {
        let sent = Arc::<Mutex<Sent>>::default();
        let state = (Arc::clone(&self.pieces), Arc::clone(&sent));
        let stream = stream::unfold(state, |(pieces, sent)| async move {
            let mut told = sent.lock().await;
            if told.bytes >= PART {
                return None;
            }
            let piece = pieces.lock().await.recv().await;
            match piece {
                Some(Ok(piece)) => {
                    told.bytes += piece.len() as u64;
                    drop(told);
                    Some((Ok::<_, io::Error>(piece), (pieces, sent)))
                }
                Some(Err(broken)) => {
                    told.over = Some(Err(broken));
                    None
                }
                None => {
                    told.over = Some(Ok(()));
                    None
                }
            }
        });
        (Body::from_stream(stream), sent)
    }
}

fn feed(
    source: &dyn Source,
    at: u64,
    pieces: &mpsc::Sender<Result<Bytes, Broken>>,
) -> Result<(), Broken> {
    let mut reader = source.open(at)?;
    loop {
        let mut piece = vec![0; PIECE];
        let count = match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let error = error.to_string();
                let passing = true;
                return Err(Broken { error, passing });
            }
        };
        piece.truncate(count);
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

/// Tries again for a while, counted from the last success.
struct Patience {
    wait: Duration,
    since: Instant,
    told: bool,
}

impl Patience {
    fn new(wait: Duration) -> Self {
        Self {
            wait,
            since: Instant::now(),
            told: false,
        }
    }

    fn worked(&mut self) {
        self.since = Instant::now();
        self.told = false;
    }

    /// Waits a moment; fails with `trouble` where it has been too long.
    async fn again(&mut self, work: &Work, trouble: Trouble) -> Result<(), Trouble> {
        if self.since.elapsed() >= self.wait {
            return Err(trouble);
        }
        if !self.told {
            self.told = true;
            work.note(&format!("{}: trying again", trouble.error));
        }
        let mut tick = tokio::time::interval(AGAIN);
        tick.tick().await;
        tick.tick().await;
        Ok(())
    }
}

/// Whether the same request may be answered otherwise in a moment: nobody answered, or somebody who said so.
fn passes(trouble: &Trouble) -> bool {
    match trouble.status {
        None => trouble.code == crate::exit::INFRA,
        Some(status) => matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
    }
}

/// Brings the bytes of `source` to the server. What breaks on the way goes on where it is durable, for as long as `wait`
/// since the last byte.
pub(crate) async fn send(
    client: &Client,
    order: &UploadOrder,
    source: Arc<dyn Source>,
    wait: Duration,
) -> Result<Uploaded, Trouble> {
    let what = match &order.name {
        Some(name) => format!("upload {name}"),
        None => format!("upload {}", source.name()),
    };
    let mut work = Work::new(what, order.size);
    let mut patience = Patience::new(wait);
    let mut upload: UploadInfo = loop {
        match client.post(paths::UPLOADS, order).await {
            Ok(upload) => break upload,
            Err(trouble) if passes(&trouble) => patience.again(&work, trouble).await?,
            Err(trouble) => return Err(trouble),
        }
    };
    if upload.offset > 0 {
        work.note(&format!("going on after {}", bytes(upload.offset)));
    }
    let mut feed = Feed::open(&source, upload.offset);
    while order.size != Some(upload.offset) || upload.offset == 0 {
        let (body, sent) = feed.part();
        let path = format!("{}?offset={}", paths::upload(&upload.id), upload.offset);
        let answer: Result<UploadInfo, Trouble> = client.send(&path, body).await;
        let trouble = match answer {
            Ok(next) => {
                if next.offset > upload.offset {
                    patience.worked();
                }
                upload = next;
                work.at(upload.offset);
                let mut sent = sent.lock().await;
                feed.at += sent.bytes;
                match sent.over.take() {
                    None if feed.at == upload.offset => continue,
                    None => None,
                    Some(Ok(())) => break,
                    Some(Err(broken)) => Some(source_trouble(&*source, broken)?),
                }
            }
            // Somebody else goes on with it: this program, before its connection broke.
            Err(trouble) if trouble.status == Some(StatusCode::CONFLICT) => Some(trouble),
            Err(trouble) if passes(&trouble) => Some(trouble),
            Err(trouble) => return Err(goes_on(trouble)),
        };
        if let Some(trouble) = trouble {
            patience.again(&work, trouble).await.map_err(goes_on)?;
        }
        let before = upload.offset;
        upload = known(client, &upload.id, &work, &mut patience).await?;
        if upload.offset > before {
            patience.worked();
        }
        work.at(upload.offset);
        feed = Feed::open(&source, upload.offset);
    }
    finish(client, &upload, &work, &mut patience).await
}

fn source_trouble(source: &dyn Source, broken: Broken) -> Result<Trouble, Trouble> {
    let trouble = Trouble::infra(format!("read {}: {}", source.name(), broken.error), "");
    match broken.passing {
        true => Ok(trouble),
        false => Err(goes_on(trouble)),
    }
}

/// The same trouble, with what to do about an upload that did not end.
fn goes_on(trouble: Trouble) -> Trouble {
    match trouble.hint.as_str() {
        "" => Trouble {
            hint: "what came is kept for a while: the same command goes on where it broke off"
                .to_owned(),
            ..trouble
        },
        _ => trouble,
    }
}

/// How far the server is with it.
async fn known(
    client: &Client,
    id: &str,
    work: &Work,
    patience: &mut Patience,
) -> Result<UploadInfo, Trouble> {
    loop {
        match client.get(&paths::upload(id)).await {
            Ok(upload) => return Ok(upload),
            Err(trouble) if passes(&trouble) => {
                patience.again(work, trouble).await.map_err(goes_on)?;
            }
            Err(trouble) => return Err(trouble),
        }
    }
}

/// To finish again what is finished says the same, so an answer that was lost is asked for again.
async fn finish(
    client: &Client,
    upload: &UploadInfo,
    work: &Work,
    patience: &mut Patience,
) -> Result<Uploaded, Trouble> {
    let path = paths::finish(&upload.id);
    loop {
        match client.post(&path, &UploadEnd::default()).await {
            Ok(done) => return Ok(done),
            Err(trouble) if passes(&trouble) => patience.again(work, trouble).await?,
            Err(trouble) => return Err(trouble),
        }
    }
}
