//! The socket that operators' requests come in by.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use bootgate_api::control::SOCKET;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// Connections at once; more wait in the kernel.
const CONNECTIONS: usize = 64;
/// Longest time for a request's head, and for the next request of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// Time before accepting is tried again where it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Others could put something in its place.
    #[error("folder `{path}` can be changed by other users (mode {mode:o})", path = path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A server answers on it.
    #[error("a server answers on `{path}` already", path = path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("`{path}` is not a socket", path = path.display())]
    Foreign {
        /// What is there.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{doing} `{path}`: {error}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl ControlError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}

/// The control interface on its socket. It stops when it is stopped or dropped; the socket's file goes with it.
pub struct ControlServer {
    path: PathBuf,
    inode: u64,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves `router` on [`SOCKET`] in `folder`, which is made for this user alone where it does not exist. A socket
    /// that a server left behind is replaced. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// A server answers there already, other users may change the folder, or the system says no.
    pub fn start(folder: &Path, router: Router) -> Result<Self, ControlError> {
        private(folder)?;
        let path = folder.join(SOCKET);
        make_room(&path)?;
        let listener = bind(folder, &path)?;
        let found = fs::symlink_metadata(&path).map_err(ControlError::io("look at", &path))?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, router, stopped));
        Ok(Self {
            path,
            inode: found.ino(),
            stop: Some(stop),
            task: Some(task),
        })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends every connection and removes the socket.
    pub async fn stop(mut self) {
        self.unlink();
        self.stop.take();
        if let Some(task) = self.task.take() {
            // A task that panicked is gone as well.
            let _ = task.await;
        }
    }

    /// Removes the socket, unless another server has put its own in its place.
    fn unlink(&self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| found.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("remove the control socket: {error}");
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // The task ends when its `stop` is dropped.
        if self.stop.is_some() {
            self.unlink();
        }
    }
}

/// Makes the folder, or makes sure that only its owner can change it.
fn private(folder: &Path) -> Result<(), ControlError> {
    let mut builder = fs::DirBuilder::new();
    match builder.mode(0o700).recursive(true).create(folder) {
        Ok(()) => {}
        Err(error) => return Err(ControlError::io("make the folder", folder)(error)),
    }
    let found = fs::metadata(folder).map_err(ControlError::io("look at", folder))?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        let path = folder.to_owned();
        return Err(ControlError::Open { path, mode });
    }
    Ok(())
}

/// Fails where a server answers, or where something that is no socket has the name.
fn make_room(path: &Path) -> Result<(), ControlError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ControlError::io("look at", path)(error)),
    };
    let path = path.to_owned();
    if !found.file_type().is_socket() {
        return Err(ControlError::Foreign { path });
    }
    match StdUnixStream::connect(&path) {
        Ok(_) => Err(ControlError::Taken { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(ControlError::io("connect to", &path)(error)),
    }
}

/// Binds under another name in a folder of its own, so that nobody can connect before the permissions are right.
fn bind(folder: &Path, path: &Path) -> Result<UnixListener, ControlError> {
    let hidden = folder.join(format!(".control-{}", std::process::id()));
    // Left by a server of the same number that was killed here.
    let _ = fs::remove_dir_all(&hidden);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&hidden)
        .map_err(ControlError::io("make the folder", &hidden))?;
    let unfinished = hidden.join("s");
    let bound = bind_at(&unfinished, path);
    // Only tidiness depends on it.
    let _ = fs::remove_dir_all(&hidden);
    bound
}

fn bind_at(unfinished: &Path, path: &Path) -> Result<UnixListener, ControlError> {
    let listener =
        UnixListener::bind(unfinished).map_err(ControlError::io("listen on", unfinished))?;
    fs::set_permissions(unfinished, fs::Permissions::from_mode(0o600))
        .map_err(ControlError::io("set the permissions of", unfinished))?;
    fs::rename(unfinished, path).map_err(ControlError::io("put in place", path))?;
    Ok(listener)
}

/// Accepts connections until `stopped` fires or is dropped; then ends them all.
async fn accept(listener: UnixListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept(), if open.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    open.spawn(serve(router.clone(), stream));
                }
                Err(error) => {
                    tracing::warn!("accept a connection of the control socket: {error}");
                    // Out of files, for the most part: trying again at once is of no use.
                    let stop = tokio::time::timeout(PAUSE, &mut stopped);
                    if stop.await.is_ok() {
                        break;
                    }
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
    open.shutdown().await;
}

async fn serve(router: Router, stream: UnixStream) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!("a connection of the control socket ended: {error}");
    }
}
