//! Waiting for the device of a partition.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::gpt;

/// How long the device may take to appear when all modules are loaded.
const APPEARS: Duration = Duration::from_secs(30);
/// Multicast group of the kernel's own announcements (`lib/kobject_uevent.c`).
const KERNEL_GROUP: u32 = 1;

/// The kernel's announcements of devices.
pub(crate) struct Announcements(OwnedFd);

impl Announcements {
    /// Listens from now on.
    ///
    /// # Errors
    /// The socket cannot be made, in words.
    pub(crate) fn listen() -> Result<Self, String> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )
        .and_then(|socket| {
            bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP)).map(|()| socket)
        });
        socket
            .map(Self)
            .map_err(|error| format!("listen for devices: {error}"))
    }

    /// Waits for the next announcement; `false` at the deadline.
    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))?;
        let mut buffer = [0; 2048];
        // What they say does not matter, nor does one that was lost: the devices are looked at anew.
        while recv(&self.0, &mut buffer, RecvFlags::empty()).is_ok() {}
        Ok(ready > 0)
    }
}

/// Waits until the partition with this GUID is there; its device.
///
/// # Errors
/// It does not appear in time, in words.
pub(crate) fn wait_for(guid: [u8; 16], announcements: &Announcements) -> Result<PathBuf, String> {
    let deadline = Instant::now() + APPEARS;
    loop {
        match find(Path::new("/sys/block"), Path::new("/dev"), guid) {
            Ok(Some(device)) => return Ok(device),
            Ok(None) => {}
            Err(error) => return Err(format!("look for disks: {error}")),
        }
        let more = announcements.wait(deadline);
        if !more.map_err(|error| format!("wait for devices: {error}"))? {
            return Err(format!("it did not appear within {} s", APPEARS.as_secs()));
        }
    }
}

/// Looks through the partition tables of all disks.
fn find(sysfs: &Path, dev: &Path, guid: [u8; 16]) -> io::Result<Option<PathBuf>> {
    let mut disks = fs::read_dir(sysfs)?.collect::<io::Result<Vec<_>>>()?;
    disks.sort_by_key(fs::DirEntry::file_name);
    for disk in disks {
        // A disk that cannot be read is not the one: an empty drive, say.
        let number = partition_number(&disk.path(), &dev.join(disk.file_name()), guid);
        let Ok(Some(number)) = number else {
            continue;
        };
        if let Some(device) = partition_device(&disk.path(), dev, number)? {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

fn partition_number(disk: &Path, device: &Path, guid: [u8; 16]) -> io::Result<Option<u32>> {
    let text = fs::read_to_string(disk.join("queue/logical_block_size"))?;
    let sector = text.trim().parse().map_err(io::Error::other)?;
    gpt::find(&mut File::open(device)?, sector, guid)
}

/// The kernel names partitions `vda3` or `nvme0n1p3`; sysfs tells which it is.
fn partition_device(disk: &Path, dev: &Path, number: u32) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(disk)? {
        let entry = entry?;
        let found = fs::read_to_string(entry.path().join("partition"));
        if found.is_ok_and(|text| text.trim() == number.to_string()) {
            let device = dev.join(entry.file_name());
            return Ok(device.exists().then_some(device));
        }
    }
    Ok(None)
}
