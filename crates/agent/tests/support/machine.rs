//! A live environment in QEMU, without acceleration, so that it runs wherever QEMU does. Its network is QEMU's own: the
//! machine reaches servers on this host's loopback at 10.0.2.2.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::NONCE;

/// Many times what it takes.
const LIMIT: Duration = Duration::from_secs(240);
/// Address of the interface that the machine boots from.
pub const MAC: &str = "52:54:00:00:00:01";

/// A live environment by the name of its folder in `$BOOTGATE_MEDIA`, and the QEMU that runs it.
pub struct Live {
    pub folder: PathBuf,
    pub qemu: &'static str,
    pub machine: &'static [&'static str],
    pub console: &'static str,
}

impl Live {
    /// Or why there is none.
    pub fn find(name: &str, qemu: &'static str) -> Result<Self, String> {
        let media = std::env::var_os("BOOTGATE_MEDIA").ok_or("BOOTGATE_MEDIA is not set")?;
        let folder = Path::new(&media).join(name);
        if !folder.join("initrd.img").is_file() {
            return Err(format!("`{}` was not made", folder.display()));
        }
        let arm = qemu == "qemu-system-aarch64";
        Ok(Self {
            folder,
            qemu,
            machine: match arm {
                true => &["-machine", "virt,accel=tcg", "-cpu", "cortex-a57"],
                false => &["-machine", "q35,accel=tcg,graphics=off"],
            },
            console: if arm { "ttyAMA0" } else { "ttyS0" },
        })
    }

    /// Switches a machine on that talks to the server at `port` through the device `nic`.
    pub fn power_on(&self, port: u16, nic: &str, devices: &[String]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let monitor = folder.path().join("monitor");
        let mut qemu = Command::new(self.qemu);
        qemu.args(self.machine);
        qemu.args(["-m", "640", "-nographic", "-no-reboot", "-nodefaults"]);
        qemu.args(["-serial", "stdio", "-netdev", "user,id=net"]);
        qemu.arg("-monitor");
        qemu.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        qemu.arg("-device");
        qemu.arg(format!("{nic},netdev=net,mac={MAC}"));
        for device in devices {
            let (option, value) = device.split_once(' ').unwrap();
            qemu.arg(option).arg(value);
        }
        qemu.arg("-kernel").arg(self.folder.join("vmlinuz"));
        qemu.arg("-initrd").arg(self.folder.join("initrd.img"));
        let console = self.console;
        qemu.arg("-append").arg(format!(
            "console={console} quiet cryptomgr.notests bootgate.nonce={NONCE} \
             bootgate.server=http://10.0.2.2:{port} bootgate.mac={MAC} bootgate.ip=10.0.2.15/24"
        ));
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut qemu = qemu.expect("start QEMU");
        let mut serial = qemu.stdout.take().unwrap();
        let (send, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = serial.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Machine {
            qemu,
            monitor,
            _folder: folder,
            chunks,
            seen: String::new(),
            deadline: Instant::now() + LIMIT,
        }
    }
}

/// Ends QEMU with the test, however the test ends.
pub struct Machine {
    qemu: Child,
    monitor: PathBuf,
    _folder: tempfile::TempDir,
    chunks: Receiver<Vec<u8>>,
    seen: String,
    deadline: Instant,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Machine {
    /// Waits until the console said this; all it said so far.
    pub fn until(&mut self, text: &str) -> &str {
        while !self.seen.contains(text) {
            assert!(self.more(), "no `{text}` on the console:\n{}", self.seen);
        }
        &self.seen
    }

    /// Waits until the machine is off; all its console said.
    pub fn until_off(&mut self) -> &str {
        while self.more() {}
        &self.seen
    }

    fn more(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.chunks.recv_timeout(left) {
            Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {
                panic!("still on after {LIMIT:?}, console:\n{}", self.seen)
            }
        }
        true
    }

    /// Gives QEMU's monitor a command.
    pub fn command(&self, line: &str) {
        let mut monitor = UnixStream::connect(&self.monitor).unwrap();
        writeln!(monitor, "{line}").unwrap();
        // The monitor drops what a client that is gone has sent: wait for the prompt after the echo.
        let mut answer = String::new();
        let mut byte = [0];
        while answer.matches("(qemu)").count() < 2 {
            if monitor.read(&mut byte).unwrap() == 0 {
                break;
            }
            answer.push(byte[0].into());
        }
        assert!(!answer.contains("Error"), "{answer}");
    }
}
