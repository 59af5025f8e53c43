//! The live environment from its start to the hand-over.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use bootgate_api::{AfterFlash, AgentHello, BootPlan, ChunkIndex, Completion, FlashPlan};
use bootgate_events::Stage;

use super::modules::Modules;
use super::netlink::Events;
use super::{REPORT_TO, console, disks, enter, mounts, nic, power, say};
use crate::cmdline::BootArgs;
use crate::disk::check_fit;
use crate::flash::{DiskFile, Flashed, Options, flash};
use crate::halt::Retry;
use crate::inventory;
use crate::progress::Meter;
use crate::server::Server;

/// Does all the plan says; returns how to end, or what went wrong.
pub(super) fn run(started: Instant) -> Result<AfterFlash, String> {
    let mounted = mounts::mount_all();
    console::open();
    say!("started");
    mounted?;
    let text = fs::read_to_string("/proc/cmdline");
    let text = text.map_err(|error| format!("read the kernel command line: {error}"))?;
    let args = BootArgs::parse(&text).map_err(|error| error.to_string())?;
    let _ = REPORT_TO.set((args.server, args.nonce.clone()));

    // Opened before the modules are loaded, so that no event is missed.
    let listen = |events: std::io::Result<Events>| events.map_err(|e| format!("listen: {e}"));
    let links = listen(Events::links())?;
    let devices = listen(Events::devices())?;
    // The interface is used while the modules after its driver are still being loaded.
    let modules = Modules::start()?;
    let nic = nic::bring_up(&args, &modules, &links)?;
    say!("network {} after {} ms", nic.name, since(started));

    let server = Server::new(args.server, args.nonce);
    let hello = AgentHello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since_pid1_ms: since(started),
    };
    let plan = server.hello(&hello, Retry::default());
    match plan.map_err(|error| error.to_string())? {
        BootPlan::Flash(plan) => {
            enter(Stage::Flash);
            let site = Site {
                started,
                server: &server,
                plan: &plan,
            };
            site.flash(&modules, &devices)?;
            Ok(plan.after)
        }
        BootPlan::Inventory { after } => {
            modules.wait();
            disks::settle(&modules, &devices)?;
            disks::tell_undriven();
            tell_inventory(&server)?;
            Ok(after)
        }
        BootPlan::Stay => {
            say!("ready");
            power::wait_for_ever()
        }
    }
}

fn tell_inventory(server: &Server) -> Result<(), String> {
    let inventory = inventory::read(Path::new("/"));
    say!("inventory: {}", inventory.summary());
    let told = server.inventory(&inventory, Retry::default());
    told.map_err(|error| error.to_string())?;
    say!("inventory complete");
    Ok(())
}

fn since(started: Instant) -> u64 {
    millis(started, Instant::now())
}

fn millis(from: Instant, to: Instant) -> u64 {
    let passed = to.saturating_duration_since(from).as_millis();
    u64::try_from(passed).unwrap_or(u64::MAX)
}

/// One flash, with all it needs.
struct Site<'a> {
    started: Instant,
    server: &'a Server,
    plan: &'a FlashPlan,
}

impl Site<'_> {
    fn flash(&self, modules: &Modules, devices: &Events) -> Result<(), String> {
        let index = self.index()?;
        modules.wait();
        let disk = disks::wait_for(&self.plan.disk, modules, devices)?;
        if modules.by_alias() {
            disks::tell_undriven();
        }
        check_fit(&disk, index.size, index.sector_size).map_err(|error| error.to_string())?;
        say!("flash {disk}");
        let path = Path::new(&disk.path);
        let file = DiskFile::open(path);
        let file = file.map_err(|error| format!("open disk `{}`: {error}", disk.path))?;
        let flashed = self.flash_disk(&index, &file)?;
        self.complete(&flashed)?;
        // The kernel still has the partitions of before; told after the completion, which nothing may hold up.
        drop(file);
        match disks::read_partitions(&disk.path) {
            Ok(names) => say!("partitions of {}: {}", disk.path, names.join(" ")),
            Err(error) => say!("warning: read the partitions of `{}`: {error}", disk.path),
        }
        Ok(())
    }

    fn index(&self) -> Result<ChunkIndex, String> {
        for path in [&self.plan.index_path, &self.plan.data_path] {
            if !path.starts_with('/') {
                return Err(format!("boot plan: path `{path}` does not begin with `/`"));
            }
        }
        let index = self.server.index(&self.plan.index_path, Retry::default());
        let index = index.map_err(|error| error.to_string())?;
        if index.image_sha256 != self.plan.image_sha256 {
            return Err(format!(
                "chunk index is of image `{}`, the boot plan asks for `{}`",
                index.image_sha256, self.plan.image_sha256
            ));
        }
        Ok(index)
    }

    fn flash_disk(&self, index: &ChunkIndex, disk: &DiskFile) -> Result<Flashed, String> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let options = Options {
            // One more than can work at once, since one of them waits for the disk or the network.
            connections: (processors + 1).clamp(2, 4),
            retry: Retry::default(),
        };
        let meter = Meter::default();
        let image = self.server.image(&self.plan.data_path);
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                meter.report(|progress| {
                    if progress.phase == bootgate_events::FlashPhase::Verify {
                        enter(Stage::Verify);
                    }
                    // A report that does not arrive is made good by the next.
                    let _ = self.server.progress(progress);
                });
            });
            let result = flash(index, disk, &image, &meter, options);
            meter.end();
            result
        });
        result.map_err(|error| {
            enter(error.stage());
            error.to_string()
        })
    }

    fn complete(&self, flashed: &Flashed) -> Result<(), String> {
        let first_fetch = flashed.first_fetch;
        let completion = Completion {
            chunks_sha256: flashed.chunks_sha256,
            size: flashed.size,
            bytes_fetched: flashed.bytes_fetched,
            bytes_written: flashed.bytes_written,
            first_fetch_ms: first_fetch.map_or(0, |first| millis(self.started, first)),
        };
        let reported = self.server.complete(&completion, Retry::default());
        reported.map_err(|error| error.to_string())?;
        // Twice, since a message of the kernel may split one.
        for _ in 0..2 {
            say!("flash complete");
        }
        Ok(())
    }
}
