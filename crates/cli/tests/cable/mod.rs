//! A server's namespace, in which the test runs, and a client's, with a cable between them.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The bootgate program.
pub const BOOTGATE: &str = env!("CARGO_BIN_EXE_bootgate");
/// The server's end of the cable.
pub const SERVER: &str = "srv0";
/// The client's end, in its own namespace.
pub const CLIENT: &str = "cli0";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a program printed.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a shell's line that must succeed; what it printed.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output();
    let output = output.expect("run sh");
    assert!(output.status.success(), "`{line}`: {}", told(&output));
    told(&output)
}

/// A namespace that lives as long as this.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("the holder is ready");
        Self(holder)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "-n", program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program runs.
#[derive(Clone, Copy)]
pub enum Place {
    /// In the server's namespace.
    Server,
    /// In the client's.
    Client,
    /// In the third one of a [`Cable::wide`].
    Third,
}

/// The cable, and a folder for files.
pub struct Cable {
    pub folder: tempfile::TempDir,
    client: Namespace,
    third: Option<Namespace>,
}

impl Cable {
    /// A cable with 10.77.0.1/24 on the server's end, and 10.77.0.9/24 on the client's.
    pub fn new() -> Self {
        let cable = Self {
            folder: tempfile::tempdir().expect("a folder"),
            client: Namespace::new(),
            third: None,
        };
        let pid = cable.client.pid();
        sh(&format!(
            "ip link set lo up; ip link add {SERVER} type veth peer name {CLIENT} netns {pid}; \
             ip addr add 10.77.0.1/24 dev {SERVER}; ip link set {SERVER} up"
        ));
        cable.client(&format!(
            "ip link set lo up; ip addr add 10.77.0.9/24 dev {CLIENT}; ip link set {CLIENT} up"
        ));
        cable
    }

    /// The same with a switch between: the server has `br0` in place of `srv0`, and a third station has `oth0` with
    /// 10.77.0.2/24.
    pub fn wide() -> Self {
        let mut cable = Self::new();
        let third = Namespace::new();
        sh(&format!(
            "ip addr flush dev {SERVER}; ip link add br0 type bridge; ip link set {SERVER} master br0; \
             ip link add port0 type veth peer name oth0 netns {}; ip link set port0 master br0 up; \
             ip addr add 10.77.0.1/24 dev br0; ip link set br0 up",
            third.pid()
        ));
        let up = "ip link set lo up; ip addr add 10.77.0.2/24 dev oth0; ip link set oth0 up";
        let output = third
            .command("sh")
            .args(["-ec", up])
            .output()
            .expect("run nsenter");
        assert!(output.status.success(), "{}", told(&output));
        cable.third = Some(third);
        cable
    }

    /// A command that runs there.
    pub fn at(&self, place: Place, program: &str) -> Command {
        match place {
            Place::Server => Command::new(program),
            Place::Client => self.client.command(program),
            Place::Third => self.third.as_ref().expect("a wide cable").command(program),
        }
    }

    /// A command that runs at the client's end.
    pub fn at_client(&self, program: &str) -> Command {
        self.client.command(program)
    }

    /// Runs a shell's line at the client's end; it must succeed.
    pub fn client(&self, line: &str) -> String {
        let output = self.at_client("sh").args(["-ec", line]).output();
        let output = output.expect("run nsenter");
        assert!(output.status.success(), "`{line}`: {}", told(&output));
        told(&output)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration with its state in this folder; its path.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.path("serve.toml");
        let state = self.path("state");
        let whole = format!(
            "[state]\nfolder = {:?}\n\n{text}",
            state.display().to_string()
        );
        std::fs::write(&path, whole).expect("a configuration");
        path
    }

    /// Starts the server, and waits until it serves.
    pub fn serve(&self, config: &Path) -> Program {
        let mut server = self.start(config);
        server.wait_for("state in ");
        server
    }

    /// Starts the server.
    pub fn start(&self, config: &Path) -> Program {
        let mut command = Command::new(BOOTGATE);
        command.args(["serve", "--config"]).arg(config);
        Program::start(command)
    }

    /// Starts the server, which must end by itself; its exit code and what it said.
    pub fn fails(&self, config: &Path) -> (Option<i32>, String) {
        let output = Command::new(BOOTGATE)
            .args(["serve", "--config"])
            .arg(config)
            .output();
        let output = output.expect("run bootgate");
        (output.status.code(), told(&output))
    }

    /// `bootgate doctor --segment` at the client's end; its exit code and what it said.
    pub fn doctor(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self
            .at_client(BOOTGATE)
            .args(["doctor", "--segment", CLIENT, "--wait", "2"])
            .args(more)
            .output()
            .expect("run bootgate");
        (output.status.code(), told(&output))
    }

    /// dnsmasq as a DHCP server, ready.
    pub fn dnsmasq(&self, place: Place, more: &[&str]) -> Program {
        let mut command = self.at(place, "dnsmasq");
        let interface = match place {
            Place::Server => SERVER,
            Place::Client => CLIENT,
            Place::Third => "oth0",
        };
        command.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--log-dhcp",
            "--no-ping",
            "--user=root",
        ]);
        command.arg(format!("--interface={interface}"));
        command.arg(format!(
            "--dhcp-leasefile={}",
            self.path(&format!("{interface}.leases")).display()
        ));
        command
            .args(["--pid-file", "--dhcp-authoritative"])
            .args(more);
        let mut dnsmasq = Program::start(command);
        dnsmasq.wait_for("DHCP, ");
        dnsmasq
    }

    /// udhcpc at the client's end: what it was given, as `NAME=VALUE` lines; `None` where it got nothing.
    pub fn udhcpc(&self, more: &[&str]) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;
        let (script, env) = (self.path("udhcpc.sh"), self.path("udhcpc.env"));
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = bound ]; then env > {}; fi\n",
            env.display()
        );
        std::fs::write(&script, text).expect("a script");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let _ = std::fs::remove_file(&env);
        let output = self
            .at_client("udhcpc")
            .args(["-i", CLIENT, "-f", "-n", "-q", "-t", "4", "-T", "1", "-s"])
            .arg(&script)
            .args(more)
            .output()
            .expect("run udhcpc");
        output
            .status
            .success()
            .then(|| std::fs::read_to_string(env).expect("udhcpc was bound"))
    }
}

/// A program that runs, and its lines.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    pub said: String,
}

impl Program {
    pub fn start(command: Command) -> Self {
        // Both outputs in one, in order.
        let mut both = Command::new("sh");
        both.args(["-c", "exec \"$@\" 2>&1", "sh"])
            .arg(command.get_program());
        both.args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = both.spawn().expect("start the program");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            said: String::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no `{text}` ({error}):\n{}", self.said),
            }
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it ends");
        let rest = self.lines.iter().flat_map(|line| [line, "\n".to_owned()]);
        self.said.extend(rest.collect::<Vec<_>>());
        status
    }

    /// Ends it with a signal, and waits for it.
    pub fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        sh(&format!("kill -{signal} {}", self.child.id()));
        let status = self.child.wait().expect("it ends");
        self.said
            .extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
        (status, std::mem::take(&mut self.said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
