//! SIGKILL at any moment: what was acknowledged is there, and nothing was invented.
//!
//! A child process does random operations on a state and says on its pipe what it is about to do and what was
//! acknowledged. It is killed again and again at random points. Each time the state must hold exactly what was
//! acknowledged, with or without the one operation that was under way; a model in memory knows what that is.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bootgate_store::Store;
use bootgate_store::sqlite::{Sqlite, restore};
use common::{Model, Operation, contents};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const STATE: &str = "BOOTGATE_KILL_STATE";
const SEED: &str = "BOOTGATE_KILL_SEED";
const KILLS: u32 = 60;

/// A child says something, or is gone, before this.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_kill_loses_and_invents_nothing() {
    if let Some(state) = std::env::var_os(STATE) {
        work(Path::new(&state), Random::seeded());
    }
    let mut random = Random::seeded();
    let folder = tempfile::tempdir().unwrap();
    let model = Model::default();
    let mut seen = Seen::default();
    for round in 0..KILLS {
        let life = live_and_die(folder.path(), &mut random, 60, 4000);
        for (operation, outcome) in &life.acknowledged {
            let expected = digest(&operation.perform(&model));
            assert_eq!(*outcome, expected, "round {round}: {operation:?}");
        }
        seen.acknowledged += life.acknowledged.len();
        let sqlite = Sqlite::open(folder.path()).expect("open after the kill");
        let found = contents(&sqlite);
        if found == contents(&model) {
            seen.without += u32::from(life.under_way.is_some());
            continue;
        }
        let operation = life.under_way.expect("nothing was under way");
        operation.perform(&model);
        assert_eq!(found, contents(&model), "round {round}: {operation:?}");
        seen.with += 1;
    }
    println!("{seen:?}");
    assert!(seen.acknowledged > 500, "{seen:?}");
    assert!(seen.without > 0, "the kills hit nothing: {seen:?}");
}

/// The child restores one backup and the other; its operations are their numbers.
#[test]
fn a_restore_that_is_killed_leaves_one_state_or_the_other() {
    if let Some(folder) = std::env::var_os(STATE) {
        restore_for_ever(Path::new(&folder));
    }
    let mut random = Random::seeded();
    let folder = tempfile::tempdir().unwrap();
    let backup = |name: &str, operations: u64| {
        let store = Sqlite::open(&folder.path().join(name).join("state")).unwrap();
        let mut random = Random(operations);
        for _ in 0..operations {
            Operation(random.next()).perform(&store);
        }
        store
            .backup(&folder.path().join(name).join("backup"))
            .unwrap();
        contents(&store)
    };
    let backups = [backup("0", 50), backup("1", 100)];
    assert_ne!(backups[0], backups[1]);
    let state = folder.path().join("state");
    let mut last = contents(&Sqlite::open(&state).unwrap());
    let mut cut_short = 0;
    for round in 0..20 {
        let life = live_and_die(folder.path(), &mut random, 4, 40_000);
        if let Some((restored, _)) = life.acknowledged.last() {
            last.clone_from(&backups[usize::try_from(restored.0).unwrap()]);
        }
        let found = contents(&Sqlite::open(&state).expect("open after the kill"));
        if found == last {
            cut_short += u32::from(life.under_way.is_some());
        } else {
            let under_way = life.under_way.expect("no restore was under way");
            assert_eq!(
                found,
                backups[usize::try_from(under_way.0).unwrap()],
                "round {round}"
            );
            last = found;
        }
    }
    assert!(cut_short > 0, "the kills hit nothing: {cut_short}");
}

fn restore_for_ever(folder: &Path) -> ! {
    let mut out = std::io::stdout();
    out.write_all(b"\n").unwrap();
    for number in [0, 1].into_iter().cycle() {
        writeln!(out, "> {number}").unwrap();
        let backup = folder.join(number.to_string()).join("backup");
        restore(&backup, &folder.join("state")).expect("restore");
        writeln!(out, "< {number}").unwrap();
    }
    unreachable!("it goes on for ever");
}

/// How often an operation was under way that was lost, or was not.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: usize,
    without: u32,
    with: u32,
}

/// The child: works until it is killed.
fn work(state: &Path, mut random: Random) -> ! {
    let mut out = std::io::stdout();
    let mut say = |line: String| {
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    // The test runner has begun a line.
    say("\n".to_owned());
    let sqlite = Sqlite::open(state).expect("open");
    loop {
        let operation = Operation(random.next());
        say(format!("> {}\n", operation.0));
        let outcome = digest(&operation.perform(&sqlite));
        say(format!("< {outcome}\n"));
    }
}

fn digest(outcome: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}

/// What a child did.
struct Life {
    acknowledged: Vec<(Operation, u64)>,
    under_way: Option<Operation>,
}

/// Starts a child, and kills it some operations and some microseconds later.
fn live_and_die(state: &Path, random: &mut Random, operations: u64, micros: u64) -> Life {
    let thread = std::thread::current();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", thread.name().unwrap()])
        .args(["--nocapture", "--test-threads=1"])
        .env(STATE, state)
        .env(SEED, random.next().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a child");
    let mut pipe = Pipe::of(&mut child);
    let acknowledgements = random.below(operations);
    pipe.read_until(Instant::now() + DEADLINE, |text| {
        text.matches("\n< ").count() as u64 >= acknowledgements
    });
    pipe.read_until(
        Instant::now() + Duration::from_micros(random.below(micros)),
        |_| false,
    );
    child.kill().expect("kill the child");
    let status = child.wait().expect("wait for the child");
    assert_eq!(status.signal(), Some(9), "it ended by itself: {status}");
    pipe.rest()
}

/// What a child says.
struct Pipe {
    from: ChildStdout,
    text: String,
}

impl Pipe {
    fn of(child: &mut Child) -> Self {
        Self {
            from: child.stdout.take().unwrap(),
            text: String::new(),
        }
    }

    /// Reads until enough was said, or until then.
    fn read_until(&mut self, deadline: Instant, enough: impl Fn(&str) -> bool) {
        while !enough(&self.text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap();
            let mut ready = [PollFd::new(&self.from, PollFlags::IN)];
            if poll(&mut ready, Some(&timeout)).expect("poll") == 0 {
                return;
            }
            let mut buffer = [0; 4096];
            let count = self.from.read(&mut buffer).expect("read");
            assert!(count > 0, "it ended by itself; it said: {}", self.text);
            self.text += std::str::from_utf8(&buffer[..count]).unwrap();
        }
    }

    /// Reads what a dead child has said last. A line without its end was never said.
    fn rest(mut self) -> Life {
        self.from.read_to_string(&mut self.text).expect("read");
        let whole = self.text.rfind('\n').map_or(0, |end| end + 1);
        let mut life = Life {
            acknowledged: Vec::new(),
            under_way: None,
        };
        for line in self.text[..whole].lines() {
            if let Some(number) = line.strip_prefix("> ") {
                let begun = Operation(number.parse().unwrap());
                assert!(life.under_way.replace(begun).is_none());
            } else if let Some(outcome) = line.strip_prefix("< ") {
                let done = life.under_way.take().unwrap();
                life.acknowledged.push((done, outcome.parse().unwrap()));
            }
        }
        life
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// By the seed that the environment names, or by another each time.
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from(now.subsec_nanos()) ^ now.as_secs(),
        };
        println!("to see the same again: {SEED}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
