//! Files that are elsewhere: on the web, in a registry, in a catalog.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bootgate_testkit::require_commands;
use serde_json::{Value, json};

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(30);

struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bootgate"))
            .args(arguments)
            .env("BOOTGATE_STATE", self.path("state"))
            .env("NO_COLOR", "1")
            .env("HOME", self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("run bootgate")
    }

    /// A command that must succeed; the values that it printed.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let read = |line| serde_json::from_str(line).expect("JSON");
        text.lines().map(read).collect()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", told(&output));
        told(&output)
    }

    fn names(&self) -> Vec<String> {
        let output = self.run(&["artifact", "list", "--format", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            value["name"].as_str().expect("a name").to_owned()
        };
        text.lines().map(name).collect()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output();
    let text = output.expect("run sha256sum").stdout;
    String::from_utf8_lossy(&text)[..64].to_owned()
}

/// A web server whose connections break.
struct Web {
    port: u16,
    /// Where each request began.
    begun: Arc<Mutex<Vec<usize>>>,
    stop: Arc<AtomicBool>,
}

impl Web {
    /// Gives `bytes` for any path, `most` of them to each of the first `breaks` requests.
    fn new(bytes: Vec<u8>, most: usize, breaks: usize, ranges: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (begun, stop) = (
            Arc::<Mutex<Vec<usize>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (asked, ended) = (Arc::clone(&begun), Arc::clone(&stop));
        let left = AtomicUsize::new(breaks);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let breaks = left.load(Ordering::Relaxed) > 0;
                let most = if breaks { most } else { usize::MAX };
                let mut stream = stream.expect("a connection");
                if let Some(offset) = answer(&mut stream, &bytes, most, ranges) {
                    asked.lock().expect("a list").push(offset);
                    left.fetch_sub(usize::from(breaks), Ordering::Relaxed);
                }
            }
        });
        Self { port, begun, stop }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Answers one request; where it began.
fn answer(stream: &mut TcpStream, bytes: &[u8], most: usize, ranges: bool) -> Option<usize> {
    let mut offset = 0;
    let mut lines = BufReader::new(stream.try_clone().expect("the connection")).lines();
    loop {
        let line = lines.next()?.ok()?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=").filter(|_| ranges) {
            offset = range.trim_end_matches('-').parse().expect("a number");
        }
    }
    let rest = &bytes[offset..];
    let head = match offset {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {offset}-{}/{}\r\n",
            bytes.len() - 1,
            bytes.len()
        ),
    };
    let head = format!(
        "{head}content-length: {}\r\nconnection: close\r\n\r\n",
        rest.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&rest[..rest.len().min(most)]);
    Some(offset)
}

/// Bytes that differ everywhere.
fn some(count: usize) -> Vec<u8> {
    let byte = |number: usize| u8::try_from((number / 251 + number) % 251).expect("a byte");
    (0..count).map(byte).collect()
}

#[test]
fn a_file_of_the_web_is_gone_on_with_where_it_broke_off() {
    require_commands!("sha256sum");
    for ranges in [true, false] {
        let state = State::new();
        let bytes = some(5 << 20);
        std::fs::write(state.path("file"), &bytes).expect("a file");
        let digest = sha256(&state.path("file"));
        let web = Web::new(bytes, 3 << 20, 1, ranges);
        let url = web.url("files/vmlinuz?x=1");
        let said = state.refused(&["artifact", "fetch", &url]);
        assert!(said.contains("--sha256"), "{said}");
        let fetch = ["artifact", "fetch", &url, "--sha256", &digest];
        let fetched = state.json(&fetch);
        assert_eq!(fetched[0]["name"], "vmlinuz");
        assert_eq!(fetched[0]["sha256"], digest);
        // What stands after the path may be secret.
        assert_eq!(fetched[0]["labels"]["source"], web.url("files/vmlinuz"));
        let begun = web.begun.lock().expect("a list").clone();
        assert_eq!(begun.len(), 2, "{begun:?}");
        assert_eq!(begun[1] > 0, ranges, "{begun:?}");
        // The same again asks nobody.
        assert_eq!(state.json(&fetch), fetched);
        assert_eq!(web.begun.lock().expect("a list").len(), 2);
    }
}

#[test]
fn other_bytes_than_those_that_are_meant_leave_nothing() {
    require_commands!("sha256sum");
    let state = State::new();
    let web = Web::new(some(1000), usize::MAX, 0, true);
    let wrong = "0".repeat(64);
    let said = state.refused(&["artifact", "fetch", &web.url("x"), "--sha256", &wrong]);
    assert!(said.contains("should be sha256:000"), "{said}");
    assert_eq!(state.names(), [""; 0]);
    let gone = [
        "artifact",
        "fetch",
        "http://127.0.0.1:1/x",
        "--sha256",
        &wrong,
        "--wait",
        "0",
    ];
    let said = state.refused(&gone);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    for bad in ["ftp://x/y", "/etc/passwd", "oci://nothing"] {
        state.refused(&["artifact", "fetch", bad, "--sha256", &wrong, "--wait", "0"]);
    }
}

#[test]
fn a_catalog_is_brought_entry_by_entry() {
    require_commands!("sha256sum");
    let state = State::new();
    let bytes = some(100_000);
    std::fs::write(state.path("web"), &bytes).expect("a file");
    std::fs::write(state.path("vmlinuz"), "kernel").expect("a file");
    std::fs::write(state.path("disk.raw"), vec![1; 1 << 20]).expect("a file");
    let web = Web::new(bytes, usize::MAX, 0, true);
    let (good, wrong) = (sha256(&state.path("web")), "0".repeat(64));
    let catalog = |digest: &str| {
        let text = format!(
            r#"
[[artifact]]
name = "live/vmlinuz"
file = "vmlinuz"
alias = ["stable", "latest"]

[[artifact]]
name = "live/initrd.img"
url = "{}"
sha256 = "{digest}"
size = 100000

[[artifact]]
name = "debian"
file = "disk.raw"
kind = "image"
sector_size = 4096
"#,
            web.url("initrd")
        );
        std::fs::write(state.path("catalog.toml"), text).expect("a catalog");
        state
            .path("catalog.toml")
            .to_str()
            .expect("text")
            .to_owned()
    };
    let path = catalog(&wrong);
    let said = state.refused(&["artifact", "import", &path]);
    assert!(said.contains("live/initrd.img: finish"), "{said}");
    // The others are there.
    assert_eq!(state.names(), ["latest", "live/vmlinuz", "stable"]);
    catalog(&good);
    let brought = state.json(&["artifact", "import", &path]);
    assert_eq!(brought.len(), 3);
    assert_eq!(
        (&brought[1]["sha256"], &brought[1]["role"]),
        (&json!(good), &json!("initrd"))
    );
    assert_eq!(
        (&brought[2]["name"], &brought[2]["sector_size"]),
        (&json!("debian"), &json!(4096))
    );
    let asked = web.begun.lock().expect("a list").len();
    assert_eq!(
        state.json(&["artifact", "import", &path]),
        brought,
        "the same again"
    );
    assert_eq!(web.begun.lock().expect("a list").len(), asked);
    // A name that stands for something else stays as it is, aliases too.
    std::fs::write(state.path("vmlinuz"), "other").expect("a file");
    let said = state.refused(&["artifact", "import", &path]);
    assert!(said.contains("--replace"), "{said}");
    state.json(&["artifact", "import", &path, "--replace"]);
}

#[test]
fn a_bad_catalog_is_refused_whole_with_its_lines() {
    let state = State::new();
    let path = state.path("catalog.toml");
    std::fs::write(state.path("x"), "x").expect("a file");
    for (text, hint) in [
        ("", "[[artifact]]"),
        ("[[artifact]]\nfile = \"x\"", "name"),
        (
            "[[artifact]]\nname = \"../x\"\nfile = \"x\"",
            "cannot be a name",
        ),
        ("[[artifact]]\nname = \"a\"", "url"),
        ("[[artifact]]\nname = \"a\"\nurl = \"http://x/\"", "sha256"),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\nurl = \"http://x/\"",
            "several places",
        ),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\nsha256 = \"12\"",
            "no digest",
        ),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\nlayer = \"y\"",
            "registry",
        ),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\nrole = \"king\"",
            "no role",
        ),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\nsome = 1",
            "unknown key",
        ),
        (
            "[[artifact]]\nname = \"a\"\nfile = \"x\"\n[[artifact]]\nname = \"a\"\nfile = \"x\"",
            "twice",
        ),
    ] {
        std::fs::write(&path, text).expect("a catalog");
        let said = state.refused(&["artifact", "import", path.to_str().expect("text")]);
        assert!(
            said.contains(hint) && said.contains("catalog.toml"),
            "{text}: {said}"
        );
    }
    assert_eq!(state.names(), [""; 0]);
}

/// Debian's registry on a port of its own. It ends with this.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a port").port();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.join("registry").display()
        );
        std::fs::write(&config, text).expect("its configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the registry");
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry does not answer");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Self { child, port }
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let output = Command::new("curl").args(["-sSf"]).args(arguments).output();
        let output = output.expect("run curl");
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Uploads a blob as the distribution specification says; its descriptor.
    fn push(&self, file: &Path, title: Option<&str>) -> Value {
        let base = format!("http://127.0.0.1:{}/v2/team/live/blobs/uploads/", self.port);
        let head = self.curl(&["-X", "POST", "-D", "-", "-o", "/dev/null", &base]);
        let place = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then(|| value.trim().to_owned())
        });
        let place = place.expect("a location");
        let digest = format!("sha256:{}", sha256(file));
        let data = format!("@{}", file.display());
        let join = if place.contains('?') { '&' } else { '?' };
        let put = format!("{place}{join}digest={digest}");
        self.curl(&[
            "-X",
            "PUT",
            "-H",
            "content-type: application/octet-stream",
            "--data-binary",
            &data,
            &put,
        ]);
        let size = file.metadata().expect("a file").len();
        let mut descriptor =
            json!({ "mediaType": "application/octet-stream", "digest": digest, "size": size });
        if let Some(title) = title {
            descriptor["annotations"] = json!({ "org.opencontainers.image.title": title });
        }
        descriptor
    }

    fn tag(&self, folder: &Path, tag: &str, manifest: &Value) -> String {
        let path = folder.join("manifest.json");
        std::fs::write(&path, manifest.to_string()).expect("a manifest");
        let kind = format!(
            "content-type: {}",
            manifest["mediaType"].as_str().expect("a type")
        );
        let url = format!(
            "http://127.0.0.1:{}/v2/team/live/manifests/{tag}",
            self.port
        );
        self.curl(&[
            "-X",
            "PUT",
            "-H",
            &kind,
            "--data-binary",
            &format!("@{}", path.display()),
            &url,
        ]);
        sha256(&path)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_layer_of_a_registry_is_chosen_by_its_title() {
    require_commands!("docker-registry", "curl", "sha256sum");
    let state = State::new();
    let registry = Registry::start(state.0.path());
    for (name, bytes) in [
        ("config", b"{}".to_vec()),
        ("vmlinuz", some(70_000)),
        ("initrd", some(90_000)),
    ] {
        std::fs::write(state.path(name), bytes).expect("a file");
    }
    let config = registry.push(&state.path("config"), None);
    let layers = [
        registry.push(&state.path("vmlinuz"), Some("vmlinuz")),
        registry.push(&state.path("initrd"), Some("initrd.img")),
    ];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let digest = registry.tag(state.0.path(), "7.1", &manifest);
    let base = format!("oci://127.0.0.1:{}/team/live", registry.port);
    let tagged = format!("{base}:7.1");
    let said = state.refused(&["artifact", "fetch", &tagged]);
    assert!(said.contains("`vmlinuz`, `initrd.img`"), "{said}");
    let fetched = state.json(&["artifact", "fetch", &tagged, "--layer", "initrd.img"]);
    assert_eq!(fetched[0]["name"], "initrd.img");
    assert_eq!(fetched[0]["sha256"], sha256(&state.path("initrd")));
    assert_eq!(
        fetched[0]["labels"]["oci-manifest"],
        format!("sha256:{digest}")
    );
    // By digests alone, of the manifest and of the layer.
    let (exact, layer) = (
        format!("{base}@sha256:{digest}"),
        layers[0]["digest"].as_str(),
    );
    let layer = layer.expect("a digest");
    let fetched = state.json(&["artifact", "fetch", &exact, "--layer", layer, "--name", "k"]);
    assert_eq!(fetched[0]["sha256"], sha256(&state.path("vmlinuz")));
    let wrong = "0".repeat(64);
    state.refused(&[
        "artifact", "fetch", &tagged, "--layer", "vmlinuz", "--sha256", &wrong,
    ]);
    state.refused(&[
        "artifact",
        "fetch",
        &format!("{base}@sha256:{wrong}"),
        "--wait",
        "0",
    ]);
    state.refused(&["artifact", "fetch", &format!("{base}:none"), "--wait", "0"]);
    // In a catalog too.
    let text =
        format!("[[artifact]]\nname = \"live/vmlinuz\"\noci = \"{tagged}\"\nlayer = \"vmlinuz\"\n");
    std::fs::write(state.path("catalog.toml"), text).expect("a catalog");
    let path = state.path("catalog.toml");
    let brought = state.json(&["artifact", "import", path.to_str().expect("text")]);
    assert_eq!(brought[0]["sha256"], sha256(&state.path("vmlinuz")));
    assert_eq!(brought[0]["role"], "kernel");
}
