//! Kernel modules: those of a list, and those that devices ask for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::system::{finit_module, uname};

use super::netlink::Events;
use super::say;
use crate::devices;
use crate::drivers::{Drivers, normal};

/// Paths of the modules that are always loaded, one a line, each after those it depends on.
const LIST: &str = "/etc/bootgate/modules";
/// Where the kernel reads which program to run for a module that it wants itself (proc_sys_kernel(5)).
const HELPER: &str = "/proc/sys/kernel/modprobe";
/// This program, which is that one too.
const SELF: &str = "/init";
/// How long nothing happens before the devices are looked at all the same.
const IDLE: Duration = Duration::from_secs(600);

/// The modules while they are being loaded, and afterwards.
#[derive(Debug)]
pub(super) struct Modules {
    state: Arc<(Mutex<State>, Condvar)>,
    by_alias: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether everything that was there at the start has what it asked for.
    first_done: bool,
    busy: bool,
}

impl Modules {
    /// Begins to load: the list, and where the environment has an index of drivers, what the devices ask for, now and
    /// whenever something new appears.
    ///
    /// # Errors
    /// No socket to hear of devices, or no thread.
    pub(super) fn start() -> Result<Self, String> {
        let folder = folder();
        let drivers = on_demand(&folder);
        let state = Arc::new((Mutex::default(), Condvar::new()));
        let modules = Self {
            state: Arc::clone(&state),
            by_alias: drivers.is_some(),
        };
        // Opened before the first look, so that no device is missed.
        let events = match &drivers {
            Some(_) => Some(Events::devices().map_err(|error| format!("listen: {error}"))?),
            None => None,
        };
        let work = move || {
            load_list();
            let (Some(drivers), Some(events)) = (drivers, events) else {
                return set(&state, false);
            };
            if let Err(error) = fs::write(HELPER, SELF) {
                say!("warning: write `{HELPER}`: {error}");
            }
            let mut loader = Loader::new(folder, drivers);
            loop {
                set(&state, true);
                loader.load_wanted();
                set(&state, false);
                if let Err(error) = events.wait(Instant::now() + IDLE) {
                    say!("warning: wait for devices: {error}");
                    return;
                }
            }
        };
        let thread = thread::Builder::new().spawn(work);
        thread.map_err(|error| format!("start a thread: {error}"))?;
        Ok(modules)
    }

    /// Waits until all that is on the list, and all that the first devices ask for, was loaded.
    pub(super) fn wait(&self) {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.first_done {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether modules are loaded for what devices ask for, and not from the list alone.
    pub(super) fn by_alias(&self) -> bool {
        self.by_alias
    }

    /// Whether something is being loaded at this moment.
    pub(super) fn busy(&self) -> bool {
        let state = self.state.0.lock();
        state.unwrap_or_else(PoisonError::into_inner).busy
    }
}

/// Says that loading begins, or that it came to an end for now.
fn set(state: &(Mutex<State>, Condvar), busy: bool) {
    let mut now = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    now.busy = busy;
    now.first_done |= !busy;
    state.1.notify_all();
}

/// Folder of the running kernel's modules.
fn folder() -> PathBuf {
    let release = uname();
    Path::new("/lib/modules").join(release.release().to_string_lossy().as_ref())
}

/// The drivers that can be loaded on demand, where there are any.
fn on_demand(folder: &Path) -> Option<Drivers> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    Some(Drivers::parse(
        &read("modules.dep")?,
        &read("modules.alias")?,
    ))
}

/// Loads all modules of the list. One that cannot be loaded is told and passed over: if it was needed, the interface
/// or the disk it drives is missed later, with a message of its own.
fn load_list() {
    let list = match fs::read_to_string(LIST) {
        Ok(list) => list,
        Err(error) => {
            say!("warning: read `{LIST}`: {error}");
            return;
        }
    };
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Err(error) = load(Path::new(path)) {
            say!("warning: load module `{path}`: {error}");
        }
    }
}

fn load(path: &Path) -> std::io::Result<()> {
    match finit_module(File::open(path)?, c"", 0) {
        // Built in, or listed twice.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Loads what devices ask for.
struct Loader {
    folder: PathBuf,
    drivers: Drivers,
    /// Modules that the operator does not want.
    barred: BTreeSet<String>,
    /// What was asked for before.
    seen: BTreeSet<String>,
    /// Files that were tried.
    tried: BTreeSet<PathBuf>,
}

impl Loader {
    fn new(folder: PathBuf, drivers: Drivers) -> Self {
        let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self {
            folder,
            drivers,
            barred: barred(&cmdline),
            seen: BTreeSet::new(),
            tried: BTreeSet::new(),
        }
    }

    /// Goes over all devices until none asks for anything new: a bus's driver makes more of them.
    fn load_wanted(&mut self) {
        loop {
            let wishes = devices::wishes(Path::new("/sys/bus"));
            let new: Vec<_> = wishes
                .into_iter()
                .filter(|wish| self.seen.insert(wish.modalias.clone()))
                .collect();
            if new.is_empty() {
                return;
            }
            for wish in new {
                let names: Vec<_> = self.drivers.by_alias(&wish.modalias);
                let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
                for name in names {
                    self.load(&name);
                }
            }
        }
    }

    fn load(&mut self, name: &str) {
        if self.barred.contains(name) {
            return;
        }
        for file in self.drivers.files(name) {
            let path = self.folder.join(file);
            if !self.tried.insert(path.clone()) {
                continue;
            }
            match load(&path) {
                // A driver that finds none of its devices says so; several may claim one by its class.
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => say!("warning: load module `{}`: {error}", path.display()),
            }
        }
    }
}

/// Names of the modules in `modprobe.blacklist=` of the kernel command line (modprobe(8)).
fn barred(cmdline: &str) -> BTreeSet<String> {
    let lists = cmdline.split_ascii_whitespace();
    let lists = lists.filter_map(|word| word.strip_prefix("modprobe.blacklist="));
    lists.flat_map(|list| list.split(',')).map(normal).collect()
}

/// Loads what the kernel asks for by name or alias. The kernel runs this program as
/// `modprobe -q -- NAME` (kernel/module/kmod.c). Returns the program's exit code.
pub(super) fn helper(request: &str) -> i32 {
    let folder = folder();
    let Some(drivers) = on_demand(&folder) else {
        return 1;
    };
    let names = drivers.by_request(request);
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    let mut loader = Loader::new(folder, drivers);
    for name in &names {
        loader.load(name);
    }
    i32::from(names.is_empty())
}
