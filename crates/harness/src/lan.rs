//! The LAN's own DHCP server: a real one, on a machine of its own on the private segment.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootgate_events::EventKind;
use bootgate_hostnet::{HostConfig, Sandbox, Spawn};
use bootgate_scenario::{LanServer, NetworkPlan};
use bootgate_server::settings::{self, Wanted};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::HarnessError;
use crate::segment::SEGMENT;

/// How long it may take to start; both need less than a second on an idle host.
const START: Duration = Duration::from_secs(60);
/// Lines of its log that an error repeats.
const LAST_LINES: usize = 6;

/// What is to be started.
pub(crate) struct Program {
    /// Its name in events and files.
    name: &'static str,
    /// The executable.
    binary: &'static str,
    package: &'static str,
    /// What it logs once it answers.
    ready: &'static str,
}

const DNSMASQ: Program = Program {
    name: "dnsmasq",
    binary: "dnsmasq",
    package: "dnsmasq-base",
    ready: "DHCP, sockets bound exclusively to interface",
};

const KEA: Program = Program {
    name: "kea",
    binary: "kea-dhcp4",
    package: "kea-dhcp4-server",
    ready: "DHCP4_STARTED",
};

/// A DHCP server that is running; it ends with the sandbox at the latest.
pub(crate) struct Lan {
    sandbox: Sandbox,
    pid: i32,
    /// The fact that it answers.
    pub(crate) ready: EventKind,
}

/// The server's program and where it is; `None` for one that is there already.
///
/// # Errors
/// It is not installed.
pub(crate) fn installed(server: LanServer) -> Result<Option<(Program, PathBuf)>, HarnessError> {
    let program = match server {
        LanServer::Dnsmasq => DNSMASQ,
        LanServer::Kea => KEA,
        LanServer::Existing => return Ok(None),
    };
    let binary = locate(program.binary).ok_or_else(|| {
        HarnessError::infra(
            "lan-server-missing",
            format!(
                "start the LAN's DHCP server: `{}` is not installed",
                program.binary
            ),
            format!("apt-get install {}", program.package),
        )
    })?;
    Ok(Some((program, binary)))
}

/// Starts the server and waits until it says that it answers. Its files go to `folder`. `wanted` is what it is to tell clients to boot, as
/// `bootgate serve --dhcp-settings` prints it; without it, it gives out addresses only.
///
/// # Errors
/// It is not installed, does not take its configuration, or does not start.
pub(crate) async fn start(
    server: LanServer,
    network: &NetworkPlan,
    wanted: Option<&Wanted>,
    sandbox: &Sandbox,
    folder: &Path,
) -> Result<Option<Lan>, HarnessError> {
    let Some((program, binary)) = installed(server)? else {
        return Ok(None);
    };
    std::fs::create_dir_all(folder).map_err(HarnessError::io("create", folder))?;
    let folder = folder
        .canonicalize()
        .map_err(HarnessError::io("find", folder))?;
    let (address, pool) = places(network)?;
    let host = HostConfig {
        name: program.name.to_owned(),
        segment: SEGMENT.to_owned(),
        address,
        prefix_len: network.prefix_len,
    };
    let failed = |error: &bootgate_hostnet::SandboxError| {
        HarnessError::infra("lan-server-failed", error, error.hint().unwrap_or_default())
    };
    let info = sandbox
        .create_host(host)
        .await
        .map_err(|error| failed(&error))?;
    let scene = Scene {
        interface: &info.interface,
        network,
        pool,
        wanted,
        folder: &folder,
    };
    let (config, text) = match server {
        LanServer::Kea => ("kea.conf", scene.kea()),
        _ => ("dnsmasq.conf", scene.dnsmasq()),
    };
    let config = folder.join(config);
    std::fs::write(&config, text).map_err(HarnessError::io("write", &config))?;
    let log = folder.join(format!("{}.log", program.name));
    let file = std::fs::File::create(&log).map_err(HarnessError::io("create", &log))?;
    let (reader, writer) = std::io::pipe().map_err(HarnessError::io("open a pipe for", &log))?;
    let mut env: Vec<_> = std::env::vars_os().collect();
    // Kea writes its lock and its process number where only root may, unless told otherwise.
    for name in ["KEA_LOCKFILE_DIR", "KEA_PIDFILE_DIR"] {
        env.push((name.into(), folder.clone().into()));
    }
    let stderr = writer
        .try_clone()
        .map_err(HarnessError::io("share the pipe for", &log))?;
    let child = sandbox
        .spawn(Spawn {
            argv: arguments(server, &binary, &config),
            env: Some(env),
            stdout: Some(writer.into()),
            stderr: Some(stderr.into()),
            host: Some(program.name.to_owned()),
            ..Spawn::default()
        })
        .await
        .map_err(|error| failed(&error))?;
    let (told, started) = oneshot::channel();
    std::thread::Builder::new()
        .name("lan-log".to_owned())
        .spawn(move || follow(reader, file, program.ready, told))
        .map_err(HarnessError::io("start a thread for", &log))?;
    let lan = Lan {
        sandbox: sandbox.clone(),
        pid: child.pid,
        ready: EventKind::ServerReady {
            service: format!("lan-{}", program.name),
            address: format!("{address}:67"),
        },
    };
    let said = match tokio::time::timeout(START, started).await {
        Ok(Ok(Ok(()))) => return Ok(Some(lan)),
        Ok(Ok(Err(last))) => format!("it ended: {last}"),
        Ok(Err(_)) => "its log was lost".to_owned(),
        Err(_) => format!("it did not answer within {} s", START.as_secs()),
    };
    lan.stop().await;
    Err(HarnessError::infra(
        "lan-server-failed",
        format!("start the LAN's DHCP server `{}`: {said}", program.name),
        format!("its log is `{}`", log.display()),
    ))
}

impl Lan {
    /// Ends it.
    pub(crate) async fn stop(self) {
        const SIGTERM: i32 = 15;
        // What does not end by this ends with the sandbox.
        let _ = self.sandbox.kill(self.pid, SIGTERM).await;
    }
}

/// Copies the log until it ends, and tells of the line `ready`, or of the last lines where it never came.
fn follow(
    reader: std::io::PipeReader,
    mut log: std::fs::File,
    ready: &str,
    told: oneshot::Sender<Result<(), String>>,
) {
    let mut told = Some(told);
    let mut last = VecDeque::with_capacity(LAST_LINES);
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        // A full disk ends the run elsewhere.
        let _ = writeln!(log, "{line}");
        if line.contains(ready)
            && let Some(told) = told.take()
        {
            let _ = told.send(Ok(()));
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    if let Some(told) = told {
        let last: Vec<_> = last.into_iter().collect();
        let _ = told.send(Err(last.join("; ")));
    }
}

fn locate(binary: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    own.chain(system)
        .map(|folder| folder.join(binary))
        .find(|file| file.is_file())
}

/// The server's own address and the addresses that it gives out: one beside the pool, else the pool's last.
fn places(
    network: &NetworkPlan,
) -> Result<(Ipv4Addr, std::ops::RangeInclusive<Ipv4Addr>), HarnessError> {
    let hosts = u32::MAX
        .checked_shr(u32::from(network.prefix_len))
        .unwrap_or(0);
    let first = u32::from(network.server_ip) & !hosts;
    let beside = (first + 1..first + hosts)
        .map(Ipv4Addr::from)
        .find(|ip| *ip != network.server_ip && !network.pool.contains(ip));
    let (start, end) = (*network.pool.start(), *network.pool.end());
    match beside {
        Some(address) => Ok((address, start..=end)),
        None if start < end => Ok((end, start..=Ipv4Addr::from(u32::from(end) - 1))),
        None => Err(HarnessError::infra(
            "segment-unsuitable",
            "find an address for the LAN's DHCP server: the network has none left",
            "use a shorter prefix, like address = \"10.77.0.1/24\"",
        )),
    }
}

fn arguments(server: LanServer, binary: &Path, config: &Path) -> Vec<std::ffi::OsString> {
    let binary = binary.as_os_str().to_owned();
    match server {
        LanServer::Kea => vec![binary, "-c".into(), config.into()],
        // Without `--no-daemon` it would change to a user that a private user namespace does not have.
        _ => {
            let mut file = std::ffi::OsString::from("--conf-file=");
            file.push(config);
            vec![binary, "--no-daemon".into(), file]
        }
    }
}

/// What a configuration is made of.
struct Scene<'a> {
    interface: &'a str,
    network: &'a NetworkPlan,
    pool: std::ops::RangeInclusive<Ipv4Addr>,
    wanted: Option<&'a Wanted>,
    folder: &'a Path,
}

impl Scene<'_> {
    fn dnsmasq(&self) -> String {
        let (start, end) = (self.pool.start(), self.pool.end());
        let leases = self.folder.join("leases");
        let mut text = format!(
            "# A LAN's DHCP server.\nport=0\nno-resolv\nno-hosts\ninterface={}\nbind-interfaces\nno-ping\nlog-dhcp\n\
             dhcp-authoritative\ndhcp-leasefile={}\ndhcp-range={start},{end},1h\n",
            self.interface,
            leases.display()
        );
        if let Some(wanted) = self.wanted {
            text.push_str(&settings::dnsmasq(wanted));
        }
        text
    }

    fn kea(&self) -> String {
        let (start, end) = (self.pool.start(), self.pool.end());
        let NetworkPlan {
            server_ip,
            prefix_len,
            ..
        } = self.network;
        let mut dhcp4 = json!({
            "interfaces-config": { "interfaces": [self.interface] },
            "lease-database": { "type": "memfile", "persist": false },
            "valid-lifetime": 3600,
            "authoritative": true,
            "subnet4": [{
                "subnet": format!("{server_ip}/{prefix_len}"),
                "pools": [{ "pool": format!("{start} - {end}") }],
            }],
            "loggers": [{
                "name": "kea-dhcp4",
                "output_options": [{ "output": "stdout", "flush": true }],
                "severity": "INFO",
            }],
        });
        if let Some(wanted) = self.wanted {
            let text = settings::kea(wanted);
            let own: String = text
                .lines()
                .filter(|line| !line.starts_with("//"))
                .collect();
            let own: Value = serde_json::from_str(&own).unwrap_or_default();
            dhcp4["client-classes"] = own["Dhcp4"]["client-classes"].clone();
        }
        json!({ "Dhcp4": dhcp4 }).to_string()
    }
}
