//! A lab in a network namespace: `bootgate serve` on an interface, machines of QEMU's behind it, and the operator's
//! commands.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The bootgate program.
pub const BOOTGATE: &str = env!("CARGO_BIN_EXE_bootgate");
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The interface that is served.
pub const IFACE: &str = "lab0";
/// The server's address.
pub const SERVER: &str = "10.77.0.1";
/// UEFI firmware of the package ovmf.
pub const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// iPXE for BIOS machines of the package ipxe.
pub const BIOS_IPXE: &str = "/usr/lib/ipxe/undionly.kpxe";
/// The machine's hardware address.
pub const MAC: &str = "52:54:00:12:34:56";

/// Runs a program that must succeed; what it printed.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output();
    let output = output.expect("run sh");
    let text = told(&output);
    assert!(output.status.success(), "`{line}`: {text}");
    text
}

pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The repository's root.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

/// A lab's folder: configuration, state and files.
pub struct Lab {
    pub folder: tempfile::TempDir,
    server: Option<Serving>,
}

struct Serving {
    child: Child,
    log: PathBuf,
}

/// Skips where a machine of QEMU's cannot be flashed: programs, rights or media are missing.
#[macro_export]
macro_rules! require_flashing {
    () => {
        bootgate_testkit::require_root!();
        bootgate_testkit::require_commands!("qemu-system-x86_64", "ip");
        bootgate_testkit::require_files!(
            lab::OVMF => "install ovmf",
            lab::BIOS_IPXE => "install ipxe",
        );
        let media = lab::root().join("target/media");
        if !media.join("disk/disk.img").is_file() || !media.join("live/initrd.img").is_file() {
            bootgate_testkit::skip!("target/media is not built: run ./ci/gate once");
        }
    };
}

/// Skips where there is no kernel to boot.
#[macro_export]
macro_rules! require_kernel {
    () => {
        if lab::kernel().is_none() {
            bootgate_testkit::skip!(
                "no kernel in {}: run ./ci/gate once",
                lab::kernel_root().display()
            );
        }
    };
}

/// Where the kernel of the live environment is unpacked: `BOOTGATE_KERNEL_ROOT`, else where `./ci/gate` does so.
pub fn kernel_root() -> PathBuf {
    let told = std::env::var_os("BOOTGATE_KERNEL_ROOT").map(PathBuf::from);
    told.unwrap_or_else(|| root().join("target/kernel"))
}

/// The kernel's image.
pub fn kernel() -> Option<PathBuf> {
    let files = fs::read_dir(kernel_root().join("boot")).ok()?;
    files.filter_map(Result::ok).find_map(|file| {
        let name = file.file_name();
        let kernel = name.to_str()?.starts_with("vmlinuz");
        kernel.then(|| file.path())
    })
}

/// The configuration of a lab that serves `10.77.0.0` as its only DHCP server, with `more` behind it.
pub fn serving(prefix_len: u8, ranges: &str, more: &str) -> String {
    format!(
        r#"
[state]
folder = "@/state"

[[interface]]
name = "{IFACE}"
dhcp = "full"

[[subnet]]
network = "10.77.0.0/{prefix_len}"
ranges = "{ranges}"
{more}
"#
    )
}

impl Lab {
    /// A lab whose configuration is `toml`; `@` in it stands for the lab's folder.
    pub fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("text").to_owned();
        fs::create_dir(folder.path().join("tftp")).expect("a folder for files");
        fs::write(folder.path().join("serve.toml"), toml.replace('@', &path))
            .expect("the configuration");
        Self {
            folder,
            server: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the server, and waits until an operator reaches it.
    pub fn serve(&mut self) {
        let log = self.path("serve.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.expect("a log");
        let child = Command::new(BOOTGATE)
            .args(["serve", "--config"])
            .arg(self.path("serve.toml"))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file)
            .spawn()
            .expect("start bootgate serve");
        self.server = Some(Serving { child, log });
        let socket = self.path("state/control.sock");
        self.until("the server answers", |lab| {
            lab.assert_serving();
            std::os::unix::net::UnixStream::connect(&socket)
                .is_ok()
                .then_some(())
        });
    }

    fn assert_serving(&mut self) {
        let serving = self.server.as_mut().expect("a server");
        if let Some(status) = serving.child.try_wait().expect("wait") {
            let log = fs::read_to_string(&serving.log).unwrap_or_default();
            panic!("the server ended with {status}: {log}");
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a server").child.id()
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        let mut serving = self.server.take().expect("a server");
        serving.child.kill().expect("kill the server");
        serving.child.wait().expect("the server ends");
    }

    /// Stops the server as a service manager would.
    pub fn stop(&mut self) {
        let mut serving = self.server.take().expect("a server");
        sh(&format!("kill -TERM {}", serving.child.id()));
        let status = serving.child.wait().expect("the server ends");
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{}",
            self.log()
        );
    }

    /// An operator's command.
    pub fn try_bootgate(&self, arguments: &[&str]) -> Output {
        Command::new(BOOTGATE)
            .args(arguments)
            .env("BOOTGATE_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("run bootgate")
    }

    /// An operator's command that must succeed.
    pub fn bootgate(&self, arguments: &[&str]) -> String {
        let output = self.try_bootgate(arguments);
        assert!(
            output.status.success(),
            "bootgate {arguments:?}: {}\n{}",
            told(&output),
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An operator's command with `--format json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.bootgate(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// As [`Lab::json`], for commands that print one value on each line.
    pub fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.bootgate(&[arguments, &["--format", "json"]].concat());
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
        text.lines().map(read).collect()
    }

    /// The events of an attempt.
    pub fn events(&self, id: &str) -> Vec<Value> {
        let out = self.path(&format!("run-{id}"));
        self.bootgate(&[
            "attempt",
            "export",
            id,
            "--out",
            out.to_str().expect("text"),
        ]);
        let text = fs::read_to_string(out.join("events.jsonl")).expect("events");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect()
    }

    /// The attempts of a machine, earliest first.
    pub fn attempts(&self) -> Vec<Value> {
        let mut list = self.list(&["attempt", "list"]);
        list.sort_by_key(|attempt| attempt["id"].as_str().map(str::to_owned));
        list
    }

    /// The word of an attempt's verdict; `open` where there is none.
    pub fn verdict(attempt: &Value) -> String {
        let verdict = &attempt["verdict"]["verdict"];
        verdict.as_str().unwrap_or("open").to_owned()
    }

    /// Waits until there are so many attempts and each has its verdict.
    pub fn finished_attempts(&mut self, count: usize) -> Vec<Value> {
        self.until("the attempts' verdicts", |lab| {
            let attempts = lab.attempts();
            let done = attempts
                .iter()
                .filter(|a| Self::verdict(a) != "open")
                .count();
            (done >= count).then_some(attempts)
        })
    }

    /// Looks again and again until `look` finds something, for as long as patience lasts.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "{what}: not in time\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut serving) = self.server.take() {
            let _ = serving.child.kill();
            let _ = serving.child.wait();
        }
    }
}

/// Makes the interface that is served: a tap for QEMU.
pub fn tap() {
    sh(&format!(
        "ip link set lo up; ip tuntap add {IFACE} mode tap; ip addr add {SERVER}/24 dev {IFACE}; ip link set {IFACE} up"
    ));
}

/// A machine of QEMU's.
pub struct Vm {
    child: Child,
    bytes: Receiver<Vec<u8>>,
    pub console: String,
}

impl Vm {
    pub fn start(program: &str, arguments: &str) -> Self {
        let mut child = Command::new(program)
            .args(words(arguments))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start QEMU");
        let mut output = child.stdout.take().expect("its console");
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            bytes,
            console: String::new(),
        }
    }

    /// Waits until the console says so.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_past(0, text);
    }

    /// Waits until the console says so behind that place; the place behind it.
    pub fn wait_past(&mut self, place: usize, text: &str) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.console.get(place..).and_then(|rest| rest.find(text)) {
                return place + at + text.len();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.console.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the console never said `{text}`:\n{}", self.console)
                }
            }
        }
    }

    pub fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its keyboard");
        input.write_all(line.as_bytes()).expect("type");
        input.write_all(b"\n").expect("type");
        input.flush().expect("type");
    }

    /// Pulls the plug.
    pub fn kill(mut self) {
        self.child.kill().expect("kill QEMU");
        self.child.wait().expect("QEMU ends");
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of a command line; a blank behind a backslash is part of its word.
fn words(line: &str) -> Vec<String> {
    let line = line.replace("\\ ", "\u{1}");
    let words = line.split_whitespace();
    words.map(|word| word.replace('\u{1}', " ")).collect()
}

/// Lines of a program as they come.
pub fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).lines().map_while(Result::ok)
}

/// QEMU's arguments for a PC without disk behind the tap.
pub fn pc(firmware: &str, folder: &Path, rom: &str) -> String {
    let mut line = format!(
        "-M q35 -m 512 -nographic -no-user-config -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
         -netdev tap,id=n,ifname={IFACE},script=no,downscript=no \
         -device virtio-net-pci,netdev=n,mac={MAC},bootindex=1{rom}"
    );
    if firmware == "uefi" {
        let vars = folder.join("vars.fd");
        if !vars.exists() {
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).expect("a variable store");
        }
        line += &format!(
            " -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
             -drive if=pflash,format=raw,file={} -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n",
            vars.display()
        );
    }
    line
}
