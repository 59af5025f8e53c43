//! Operators beside a lab that runs: following a boot, its exit code, and taking it away to judge it again.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../../server/tests/common/mod.rs"]
mod common;
#[path = "../../server/tests/common/laboratory.rs"]
mod laboratory;
mod operator;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;

use bootgate_api::{Failure, paths};
use bootgate_events::Stage;
use bootgate_server::control::{Control, ControlServer, Names};
use bootgate_testkit::require_commands;

use laboratory::{Laboratory, MAC, OTHER, completion};
use operator::State;

/// A lab with its door, and the program that asks there.
struct Live {
    lab: Laboratory,
    door: ControlServer,
    state: State,
}

impl Live {
    async fn start() -> Self {
        let lab = Laboratory::new().await;
        let folder = lab.folder.path().join("state");
        let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config));
        let door = ControlServer::start(&folder, control.router()).unwrap();
        let state = State::at(folder);
        Self { lab, door, state }
    }

    /// The program, run to its end without holding up the servers of this process.
    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = self.state.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().expect("an exit code"), text)
    }

    /// The program, going on.
    fn begin(&self, arguments: &[&str]) -> Following {
        let mut command = self.state.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, told) = tokio::sync::mpsc::unbounded_channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = lines.send(line);
                }
            });
        }
        Following {
            child,
            told,
            seen: Vec::new(),
        }
    }

    async fn stop(self) {
        self.door.stop().await;
        self.lab.server.stop().await;
    }
}

struct Following {
    child: Child,
    told: tokio::sync::mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Following {
    /// Waits for a line with this text.
    async fn line(&mut self, text: &str) -> String {
        let waiting = async {
            while let Some(line) = self.told.recv().await {
                self.seen.push(line.clone());
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = tokio::time::timeout(common::PATIENCE, waiting).await;
        let found = found.ok().flatten();
        found.unwrap_or_else(|| panic!("no {text:?} among {:#?}", self.seen))
    }

    /// The exit code, and all lines.
    async fn end(mut self) -> (i32, Vec<String>) {
        let waiting = async {
            while let Some(line) = self.told.recv().await {
                self.seen.push(line);
            }
        };
        let ended = tokio::time::timeout(common::PATIENCE, waiting).await;
        assert!(ended.is_ok(), "it goes on: {:#?}", self.seen);
        let code = self.child.wait().unwrap().code().expect("an exit code");
        (code, std::mem::take(&mut self.seen))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ARM: [&str; 7] = [
    "machine",
    "arm",
    "52:54:00:00:00:07",
    "--image",
    "debian",
    "--disk",
    "serial=S1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_is_followed_until_its_verdict_and_judged_again_elsewhere() {
    require_commands!("curl");
    let mut live = Live::start().await;
    let (code, told) = live.run(&ARM).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) = live
        .run(&["machine", "set", "5254.0000.0007", "--name", "node7"])
        .await;
    assert_eq!(code, 0, "{told}");

    // It waits for the machine to be switched on.
    let mut watch = live.begin(&["attempt", "watch", "node7"]);
    let mut all = live.begin(&["attempt", "watch", "--wait", "0"]);
    watch.line("waiting for the next").await;
    live.lab.power_on(OTHER);
    live.lab.power_on(MAC);
    watch.line("dhcp ").await;
    let nonce = live.lab.nonce(MAC).await;
    watch.line("script ").await;
    live.lab.begin_flash(&nonce).await;
    watch.line("writing 100 %").await;
    let (code, told) = live.run(&["attempt", "list", "--open"]).await;
    assert_eq!(code, 0);
    assert!(told.contains("goes on"), "{told}");
    let path = paths::complete(&nonce);
    assert_eq!(live.lab.post(&path, &completion()).await.0, "200");
    let (code, lines) = watch.end().await;
    assert_eq!(code, 0, "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("Passed")),
        "{lines:#?}"
    );
    assert!(!lines.iter().any(|line| line.contains(&OTHER.to_string())));
    let line = all.line("| ").await;
    assert!(!line.contains("1 target"), "{line}");
    let line = all.line("writing 100 %").await;
    assert_eq!(line.matches("node7").count(), 1, "{line}");
    all.line("Passed").await;

    // One that is over is shown, by its short number too.
    let (code, told) = live
        .run(&["attempt", "list", "--machine", "node7", "--format", "json"])
        .await;
    assert_eq!(code, 0, "{told}");
    let attempt: serde_json::Value = serde_json::from_str(&told).unwrap();
    let id = attempt["id"].as_str().unwrap();
    let short = format!("a{}", id.trim_start_matches(['a', '0']));
    for id in [id, &short] {
        let (code, told) = live.run(&["attempt", "watch", id]).await;
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("Passed"), "{told}");
    }

    // What is exported stands for itself.
    let out = live.lab.folder.path().join("export");
    let export = ["attempt", "export", "node7", "--out", out.to_str().unwrap()];
    let (code, told) = live.run(&export).await;
    assert_eq!(code, 0, "{told}");
    for name in ["events.jsonl", "verdict.json", "junit.xml", "report.html"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("does not see the machine"));
    assert!(!page.contains("The console stayed silent"));
    let replay = ["report", "--replay", out.to_str().unwrap()];
    let replayed = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(replay)
        .output()
        .unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("passed"));
    let (code, told) = live.run(&export).await;
    assert_eq!(
        code, 2,
        "a folder with something in it is left alone: {told}"
    );

    // The server's end is the end of who follows it.
    let state = State::at(live.state.folder().to_owned());
    let folder = Arc::clone(&live.lab.folder);
    live.stop().await;
    let (code, lines) = all.end().await;
    assert_eq!(code, 3, "{lines:#?}");
    let text = lines.join("\n");
    assert!(
        text.contains("error: the server stopped\n hint: open attempts go on"),
        "{text}"
    );
    // The record outlives the server.
    let (code, told) = state.run(&["attempt", "watch", "node7"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Passed"), "{told}");
    let (code, told) = state.run(&["attempt", "watch"]);
    assert_ne!(code, 0);
    assert!(told.contains("no server runs"), "{told}");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_fails_says_why_and_ends_with_1() {
    require_commands!("curl");
    let mut live = Live::start().await;
    assert_eq!(live.run(&ARM).await.0, 0);
    live.lab.power_on(MAC);
    live.lab.wait_for("dhcp-received").await;
    let watch = live.begin(&["attempt", "watch", "52-54-00-00-00-07"]);
    let nonce = live.lab.nonce(MAC).await;
    live.lab.begin_flash(&nonce).await;
    let failure = Failure {
        stage: Stage::Flash,
        error: "write `/dev/sda`: input/output error".to_owned(),
    };
    let (status, body) = live.lab.post(&paths::failure(&nonce), &failure).await;
    assert!(status.starts_with('2'), "{status} {body}");
    let (code, lines) = watch.end().await;
    assert_eq!(code, 1, "{lines:#?}");
    let text = lines.join("\n");
    assert!(text.contains("input/output error"), "{text}");

    let (code, told) = live.run(&["machine", "list"]).await;
    assert_eq!(code, 0);
    assert!(
        told.contains("(1 failed)") && told.contains("half written"),
        "{told}"
    );
    let (code, told) = live.run(&["explain", "52:54:00:00:00:07"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("debian"), "{told}");
    let (code, told) = live.run(&["status"]).await;
    assert_eq!(code, 0, "{told}");
    for part in ["runs, version", "tftp", "machines", "open attempts"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_goes_on_when_the_server_runs_again() {
    require_commands!("curl");
    let mut live = Live::start().await;
    let (code, told) = live
        .run(&["machine", "set", "52:54:00:00:00:07", "--mode", "inventory"])
        .await;
    assert_eq!(code, 0, "{told}");
    live.lab.power_on(MAC);
    live.lab.wait_for("dhcp-received").await;
    let mut one = live.begin(&["attempt", "watch", "52:54:00:00:00:07"]);
    let mut all = live.begin(&["attempt", "watch"]);
    one.line("dhcp ").await;
    // Whoever follows everything hears of it by the next event.
    let nonce = live.lab.nonce(MAC).await;
    all.line("script ").await;
    let Live { lab, door, state } = live;
    door.stop().await;
    let lab = lab.restart().await;
    one.line("waiting for it to run again").await;
    let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config));
    let door = ControlServer::start(state.folder(), control.router()).unwrap();
    let live = Live { lab, door, state };
    let inventory = bootgate_api::Inventory::default();
    let (status, body) = live.lab.post(&paths::inventory(&nonce), &inventory).await;
    assert!(status.starts_with('2'), "{status} {body}");
    all.line("Passed").await;
    let (code, lines) = one.end().await;
    assert_eq!(code, 0, "{lines:#?}");
    let scripts = lines
        .iter()
        .filter(|line| line.contains("the boot script was fetched"))
        .count();
    assert_eq!(scripts, 1, "nothing is told twice: {lines:#?}");
    drop(all);
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_machine_follows_its_new_orders() {
    require_commands!("curl");
    let mut live = Live::start().await;
    live.lab.power_on(MAC);
    live.lab.wait_for("dhcp-received").await;
    let mut watch = live.begin(&["attempt", "watch", "52:54:00:00:00:07"]);
    watch.line("mode local").await;
    assert_eq!(live.run(&ARM).await.0, 0);
    live.lab.power_on(MAC);
    watch.line("mode flash-once").await;
    live.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_attempt_of_a_stopped_server_is_not_waited_for() {
    require_commands!("curl");
    let mut live = Live::start().await;
    live.lab.power_on(MAC);
    live.lab.wait_for("dhcp-received").await;
    let watch = live.begin(&["attempt", "watch", "a1", "--format", "json", "--wait", "0"]);
    let state = State::at(live.state.folder().to_owned());
    let folder = Arc::clone(&live.lab.folder);
    let mut watch = watch;
    watch.line("\"kind\":\"attempt-opened\"").await;
    live.stop().await;
    let (code, lines) = watch.end().await;
    assert_eq!(code, 3, "{lines:#?}");
    assert!(
        lines.join("\n").contains("the server stopped"),
        "{lines:#?}"
    );
    let (code, told) = state.run(&["attempt", "watch", "a1"]);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("no server runs"), "{told}");
    // An attempt that goes on is exported as far as it came.
    let out = folder.path().join("export");
    let (code, told) = state.run(&["attempt", "export", "a1", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("goes on"), "{told}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("there is no verdict yet"));
    let out = folder.path().join("export-again");
    let export = [
        "attempt",
        "export",
        "a1",
        "--out",
        out.to_str().unwrap(),
        "--format",
        "json",
    ];
    let (code, told) = state.run(&export);
    assert_eq!(code, 0, "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["complete"], false);
    let (code, told) = state.run(&["attempt", "watch", "nobody"]);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("no machine is named `nobody`"), "{told}");
}
