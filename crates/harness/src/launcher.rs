//! Starts the targets' processes inside the sandbox.

use std::io;
use std::sync::Arc;

use bootgate_hostnet::{Sandbox, SandboxError, Spawn};
use bootgate_target::{BoxFuture, ExitOutcome, LaunchSpec, Launched, Launcher, ProcessControl};

/// A [`Launcher`] whose processes are children of the sandbox's holder and die with it.
#[derive(Clone)]
pub(crate) struct SandboxLauncher {
    sandbox: Sandbox,
}

impl SandboxLauncher {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self { sandbox }
    }
}

struct SandboxProcess {
    sandbox: Sandbox,
    pid: i32,
    runtime: tokio::runtime::Handle,
}

impl ProcessControl for SandboxProcess {
    fn kill(&self) {
        const SIGKILL: i32 = 9;
        let (sandbox, pid) = (self.sandbox.clone(), self.pid);
        // The process may have ended, or the holder with it: then there is nothing left to kill.
        self.runtime
            .spawn(async move { sandbox.kill(pid, SIGKILL).await.ok() });
    }
}

impl Launcher for SandboxLauncher {
    fn launch(&self, spec: LaunchSpec) -> BoxFuture<'_, io::Result<Launched>> {
        Box::pin(async move {
            let output = spec.output.try_clone()?;
            let mut env: Vec<_> = std::env::vars_os().collect();
            env.extend(
                spec.env
                    .into_iter()
                    .map(|(name, value)| (name.into(), value.into())),
            );
            let spawn = Spawn {
                argv: spec.argv.into_iter().map(Into::into).collect(),
                env: Some(env),
                fds: spec.fds,
                stdin: None,
                stdout: Some(output),
                stderr: Some(spec.output),
                cwd: spec.cwd,
                host: None,
            };
            let child = self.sandbox.spawn(spawn).await.map_err(to_io)?;
            let control = SandboxProcess {
                sandbox: self.sandbox.clone(),
                pid: child.pid,
                runtime: tokio::runtime::Handle::current(),
            };
            let pid = u32::try_from(child.host_pid.unwrap_or(child.pid)).unwrap_or(0);
            let exit = Box::pin(async move {
                match child.wait().await {
                    Ok(status) => ExitOutcome {
                        code: status.code,
                        signal: status.signal,
                    },
                    Err(_) => ExitOutcome {
                        code: None,
                        signal: Some(9),
                    },
                }
            });
            Ok(Launched {
                pid,
                exit,
                control: Arc::new(control),
            })
        })
    }
}

/// The error with the kind that the kernel gave it.
pub(crate) fn to_io(error: SandboxError) -> io::Error {
    io::Error::new(error.io_kind().unwrap_or(io::ErrorKind::Other), error)
}
