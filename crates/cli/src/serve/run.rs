//! The server, from start to stop.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bootgate_netboot::dhcp::DhcpMode;
use bootgate_server::control::{Control, ControlServer, Names};
use bootgate_server::lab::{Lab, LabConfig, LabServer};
use bootgate_server::{MetricsServer, StartError, monitor_router};
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{Store, StoreError};

use super::config::{STATE, Settings};
use super::log::{self, Log};
use super::resolve::{Resolved, Unusable};
use super::running::{self, Running, STOP, Signals};
use super::{door, holders, others, systemd, table, warnings};
use crate::args::Format;
use crate::exit::{self, INFRA};

/// Serves until SIGINT or SIGTERM. Two threads are enough: what waits for the disk has threads of its own.
pub(super) fn run(path: &Path, settings: Settings, resolved: Resolved, format: Format) -> ExitCode {
    log::is_for(format);
    warnings::Warnings::install(&settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(Box::pin(serve(path, settings, resolved, format)));
            runtime.shutdown_timeout(STOP);
            code
        }
        Err(error) => Err(Unusable {
            error: format!("start the runtime: {error}"),
            hint: String::new(),
        }),
    };
    match code {
        Ok(code) => code,
        Err(Unusable { error, hint }) => exit::fail(INFRA, &error, &hint),
    }
}

async fn serve(
    path: &Path,
    settings: Settings,
    resolved: Resolved,
    format: Format,
) -> Result<ExitCode, Unusable> {
    let Resolved { lab, hosts, notes } = resolved;
    // From here on a signal is not lost, however early it comes.
    let mut signals = Signals::new()?;
    let store = open(&settings.state)?;
    let accounts = door::accounts(&settings.state)?;
    let everywhere = |_: &str| true;
    tokio::select! {
        alone = alone_on(&settings, &lab, &store, &everywhere) => alone?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    }
    let server = LabServer::start(lab.clone(), Arc::clone(&store), running::sockets(hosts)).await;
    let server = server.map_err(|error| not_started(&error))?;
    let events = server.control().subscribe();
    let (reloader, orders) = running::reloader();
    let control = Control::running(server.control(), Names::of(&lab))
        .with_waker(Arc::new(crate::wol::wake))
        .with_accounts(Arc::clone(&accounts))
        .with_reloader(reloader)
        .router();
    let watched = match watched(&settings.metrics, &server.control()).await {
        Ok(watched) => watched,
        Err(unusable) => {
            server.stop().await;
            return Err(unusable);
        }
    };
    let door = match door::open(&settings, Arc::clone(&accounts), control.clone()).await {
        Ok(door) => door,
        Err(unusable) => {
            server.stop().await;
            return Err(unusable);
        }
    };
    let control = match ControlServer::start(&settings.state, control) {
        Ok(control) => control,
        Err(error) => {
            server.stop().await;
            return Err(Unusable {
                error: format!("open the control socket: {error}"),
                hint: "one server has one state folder: give each its own with [state] folder"
                    .to_owned(),
            });
        }
    };
    let mut notes = notes;
    for address in watched.keys() {
        notes.push(format!("metrics on http://{address}/metrics"));
    }
    if let Some(door) = &door {
        notes.extend(door::said(&settings, door.addresses()));
        notes.extend(door::nobody(&accounts).map(str::to_owned));
    }
    say_ready(&settings, &lab, &notes, format);
    let watchdog = running::watchdog(server.control());
    systemd::ready("serving");
    // As it was given: relative paths in it mean the same when it is read again.
    let path = path.to_owned();
    let running = Running {
        path,
        settings,
        store,
        server,
        control,
        door,
        watched,
        events,
        orders,
        signals,
        log: Log::new(format),
    };
    let code = running.serve().await;
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    Ok(code)
}

/// Offers metrics on all of these addresses.
pub(super) async fn watched(
    addresses: &[SocketAddr],
    lab: &Arc<Lab>,
) -> Result<BTreeMap<SocketAddr, MetricsServer>, Unusable> {
    let mut all = BTreeMap::new();
    for address in addresses {
        let router = monitor_router(Arc::clone(lab));
        let server = MetricsServer::start(*address, router).await;
        let server = server.map_err(|error| {
            let hint = match holders::holders(address.port(), true).as_slice() {
                [] => {
                    "name an address of this host with a free port in [metrics] listen".to_owned()
                }
                some => {
                    let some = some.join(" and ");
                    format!("{some} has the port: name another one in [metrics] listen")
                }
            };
            Unusable {
                error: format!("offer metrics on `{address}`: {error}"),
                hint,
            }
        })?;
        all.insert(*address, server);
    }
    Ok(all)
}

/// Opens the state, which belongs to this process alone from now on.
fn open(folder: &Path) -> Result<Arc<dyn Store>, Unusable> {
    match Sqlite::open(folder) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => {
            let hint = match error {
                StoreError::InUse { .. } => {
                    "a server runs already; one server has one state folder"
                }
                StoreError::Newer { .. } => {
                    "run the version that wrote it, or restore a backup made by this one"
                }
                StoreError::Full { .. } => {
                    "make room on the disk, or name another folder with [state] folder"
                }
                StoreError::Storage { ref source, .. } if denied(&**source) => {
                    "run as root or as the user whose folder it is, or name another one with [state] folder"
                }
                _ => "name a folder that this user may write with [state] folder",
            };
            Err(Unusable {
                error: error.to_string(),
                hint: hint.to_owned(),
            })
        }
    }
}

fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Makes sure that nobody else gives out addresses where this server is about to begin with it: on the interfaces for
/// which `begins` says so.
pub(super) async fn alone_on(
    settings: &Settings,
    lab: &LabConfig,
    store: &Arc<dyn Store>,
    begins: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(), Unusable> {
    let strange = others::strange_segments(settings, lab, &**store).map_err(|error| Unusable {
        error: error.to_string(),
        hint: String::new(),
    })?;
    let strange: Vec<String> = strange.into_iter().filter(|name| begins(name)).collect();
    let beginning = settings.interfaces.iter();
    let beginning = beginning.filter(|interface| begins(&interface.name));
    let proxies = beginning
        .clone()
        .filter(|interface| interface.dhcp == DhcpMode::Proxy);
    let proxies: Vec<String> = proxies.map(|interface| interface.name.clone()).collect();
    if !proxies.is_empty() {
        aside(move || {
            for name in others::silent(&proxies) {
                let text =
                    format!("no DHCP server answers on {name}: a proxy is of use beside one only");
                log::line("warning", &text);
            }
        });
    }
    // Elsewhere the answers are only told, by who listens for them on each interface.
    let rest = beginning.filter(|interface| interface.dhcp == DhcpMode::Full);
    let rest: Vec<String> = rest
        .map(|interface| interface.name.clone())
        .filter(|name| !strange.contains(name))
        .collect();
    if !rest.is_empty() {
        aside(move || {
            for other in others::look(&rest) {
                let text = format!(
                    "ANOTHER DHCP SERVER on {}: {}",
                    other.interface, other.words
                );
                log::line("server", &text);
            }
        });
    }
    if strange.is_empty() {
        return Ok(());
    }
    log::line("server", "looking for other DHCP servers");
    let found = tokio::task::spawn_blocking(move || others::look(&strange)).await;
    let found = found.unwrap_or_default();
    let Some(first) = found.first() else {
        return Ok(());
    };
    let words: Vec<&str> = found.iter().map(|other| other.words.as_str()).collect();
    Err(Unusable {
        error: format!(
            "another DHCP server gives out addresses on `{}`: {}",
            first.interface,
            words.join("; ")
        ),
        hint: "two of them give machines wrong addresses: set dhcp = \"proxy\" to work beside it, switch it off, or set beside_others = true where both are meant to be".to_owned(),
    })
}

/// Looks at a segment beside all else; a server that ends does not wait for it.
fn aside(look: impl FnOnce() + Send + 'static) {
    std::thread::spawn(look);
}

pub(super) fn not_started(error: &StartError) -> Unusable {
    let hint = match error {
        StartError::PortTaken { service, address } => taken(service, address.port()),
        StartError::Socket { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            "run as root, or with the capabilities NET_BIND_SERVICE and NET_RAW".to_owned()
        }
        _ => String::new(),
    };
    Unusable {
        error: error.to_string(),
        hint,
    }
}

/// Who has the port, and what to do about it.
fn taken(service: &str, port: u16) -> String {
    let who = match holders::holders(port, service == "http").as_slice() {
        [] => format!("find out who has it with: ss -lnp 'sport = :{port}'"),
        some => format!("{} has it", some.join(" and ")),
    };
    let what = match port {
        67 => {
            "; stop it, or keep it off this interface (dnsmasq: except-interface and bind-dynamic; systemd-networkd: DHCPServer=no), or set dhcp = \"off\" and see --dhcp-settings"
        }
        4011 => "; it is another boot server: stop it",
        69 => "; stop it (tftpd-hpa, dnsmasq's enable-tftp), or set tftp = false",
        _ => "; stop it, or set another http_port",
    };
    who + what
}

fn say_ready(settings: &Settings, lab: &LabConfig, notes: &[String], format: Format) {
    let state = settings.state.display().to_string();
    if format == Format::Json {
        return exit::say(&table::json(lab, &state).to_string());
    }
    for line in table::served(lab).into_iter().chain(table::known(lab)) {
        exit::say(&line);
    }
    for note in notes {
        exit::say(&format!("note: {note}"));
    }
    let elsewhere = match state.as_str() {
        STATE => String::new(),
        state => format!("BOOTGATE_STATE={state} "),
    };
    exit::say(&format!(
        "state in {state}; see machines appear with: {elsewhere}bootgate machine list"
    ));
}
