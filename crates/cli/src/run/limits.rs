//! How many runs this host has room for at once.

use bootgate_scenario::{Driver, Plan};

use crate::args::Jobs;

/// What a QEMU takes beside its guest's memory, in MiB.
const QEMU_MIB: u64 = 150;

/// What a run takes of the host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    memory_mib: u64,
    cores: u64,
}

impl Need {
    /// Of a plan: a core for each machine where they are translated, one for each virtual CPU where they are not.
    pub(super) fn of(plan: &Plan, translated: bool) -> Self {
        let machines = plan
            .targets
            .iter()
            .filter_map(|target| match &target.driver {
                Driver::Qemu(qemu) => Some(qemu),
                Driver::Board(_) => None,
            });
        machines.fold(Self::default(), |all, qemu| {
            let cpus = u64::from(qemu.cpus);
            Self {
                memory_mib: all.memory_mib + u64::from(qemu.memory_mib) + QEMU_MIB,
                cores: all.cores + if translated { 1 } else { cpus },
            }
        })
    }
}

/// What the host has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// Memory that programs can get, in MiB; `None` where that is not known.
    pub(super) memory_mib: Option<u64>,
    pub(super) cores: u64,
}

impl Host {
    /// Measures this one.
    pub(super) fn measured() -> Self {
        let cores = std::thread::available_parallelism();
        let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            memory_mib: available_mib(&facts),
            cores: cores.map_or(1, |cores| cores.get() as u64),
        }
    }
}

/// `MemAvailable` in MiB (proc_meminfo(5)).
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// How many of the runs go on at once, and why not as many as were asked for. `on_interface`: a run takes a real
/// interface, which it cannot share.
pub(super) fn at_once(
    asked: Jobs,
    needs: &[Need],
    host: Host,
    on_interface: bool,
) -> (usize, Option<String>) {
    let wanted = match asked {
        Jobs::Auto => needs.len(),
        Jobs::Number(number) => number.min(needs.len()),
    }
    .max(1);
    let mut by_memory: Vec<u64> = needs.iter().map(|need| need.memory_mib).collect();
    let mut by_cores: Vec<u64> = needs.iter().map(|need| need.cores).collect();
    by_memory.sort_unstable_by(|a, b| b.cmp(a));
    by_cores.sort_unstable_by(|a, b| b.cmp(a));
    // The largest ones may well come together.
    let memory = host
        .memory_mib
        .map_or(wanted, |room| fitting(&by_memory, room));
    let cores = fitting(&by_cores, host.cores);
    let interface = if on_interface { 1 } else { wanted };
    let room = memory.min(cores).min(interface).max(1);
    if room >= wanted {
        return (wanted, None);
    }
    let why = if interface == room {
        "a real interface is for one run at a time".to_owned()
    } else if cores <= memory {
        format!(
            "this host has {} cores, and each machine takes one",
            host.cores
        )
    } else {
        let largest = by_memory.first().copied().unwrap_or(0);
        let free = host.memory_mib.unwrap_or(0);
        format!("{free} MiB of memory are free, and a run takes {largest} MiB")
    };
    (room, Some(format!("{room} of {wanted} at once: {why}")))
}

/// How many of the sizes, the largest first, fit together.
fn fitting(sizes: &[u64], room: u64) -> usize {
    let mut left = room;
    let fits = |size: &&u64| {
        let fits = **size <= left;
        left = left.saturating_sub(**size);
        fits
    };
    sizes.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn needs(count: usize, memory_mib: u64) -> Vec<Need> {
        vec![
            Need {
                memory_mib,
                cores: 1
            };
            count
        ]
    }

    #[test]
    fn cores_and_memory_bound_what_runs_at_once() {
        let host = Host {
            memory_mib: Some(2000),
            cores: 2,
        };
        assert_eq!(
            at_once(Jobs::Number(1), &needs(9, 662), host, false),
            (1, None)
        );
        assert_eq!(
            at_once(Jobs::Number(2), &needs(9, 662), host, false),
            (2, None)
        );
        let (room, why) = at_once(Jobs::Number(8), &needs(9, 662), host, false);
        assert_eq!(room, 2);
        assert!(why.unwrap().contains("2 cores"));
        let (room, why) = at_once(Jobs::Auto, &needs(9, 1500), host, false);
        assert_eq!(room, 1);
        assert!(why.unwrap().contains("2000 MiB"));
        assert_eq!(
            at_once(Jobs::Auto, &needs(1, 9000), host, false),
            (1, None),
            "one runs always"
        );
        assert_eq!(at_once(Jobs::Auto, &needs(2, 100), host, true).0, 1);
    }

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:       24684032 kB\nMemAvailable:   23070720 kB\n";
        assert_eq!(available_mib(text), Some(22530));
        assert_eq!(available_mib("MemTotal: 1 kB\n"), None);
    }
}
