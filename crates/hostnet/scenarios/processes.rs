//! Programs in a sandbox, and what ends them.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use bootgate_hostnet::{Child, ExitStatus, Sandbox, SandboxError, Spawn};

use crate::client::PATIENCE;
use crate::{enter, lab, run};

fn shell(script: &str) -> Spawn {
    Spawn {
        argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        ..Spawn::default()
    }
}

async fn ended(child: Child) -> ExitStatus {
    tokio::time::timeout(PATIENCE, child.wait())
        .await
        .expect("an exit in time")
        .unwrap()
}

/// What a program prints.
async fn output(sandbox: &Sandbox, mut spawn: Spawn) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    spawn.stdout = Some(writer.into());
    let child = sandbox.spawn(spawn).await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(ended(child).await.code, Some(0));
    text
}

fn exited(code: i32) -> ExitStatus {
    ExitStatus {
        code: Some(code),
        signal: None,
    }
}

fn killed(signal: i32) -> ExitStatus {
    ExitStatus {
        code: None,
        signal: Some(signal),
    }
}

/// Programs start with what they are given, and their ends are told.
pub fn spawn() {
    let sandbox = enter();
    run(async {
        let child = sandbox.spawn(shell("exit 7")).await.unwrap();
        assert_eq!(ended(child).await, exited(7));

        let sleep = sandbox.spawn(shell("exec sleep 1000")).await.unwrap();
        let host_pid = sleep.host_pid.unwrap();
        assert_ne!(sleep.pid, host_pid);
        assert!(std::path::Path::new(&format!("/proc/{host_pid}")).exists());
        sandbox.kill(sleep.pid, 15).await.unwrap();
        let pid = sleep.pid;
        assert_eq!(ended(sleep).await, killed(15));
        sandbox.kill(pid, 15).await.unwrap();

        // Many at once: no exit is lost or given to the wrong one.
        let mut children = Vec::new();
        for code in 0..40 {
            children.push((
                code,
                sandbox.spawn(shell(&format!("exit {code}"))).await.unwrap(),
            ));
        }
        for (code, child) in children {
            assert_eq!(ended(child).await, exited(code));
        }

        let mut placed = shell(
            "pwd; echo $GREETING $HOME; sed -n 's/^Sig\\(Blk\\|Ign\\):\\t//p' /proc/self/status",
        );
        placed.cwd = Some("/usr".into());
        placed.env = Some(vec![
            ("GREETING".into(), "hello".into()),
            ("PATH".into(), std::env::var_os("PATH").unwrap()),
        ]);
        let said = output(&sandbox, placed).await;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], ["/usr", "hello"]);
        for signals in &lines[2..] {
            // Without 32 and 33, which belong to the C library and of which it lets nobody decide.
            let set = u64::from_str_radix(signals, 16).unwrap() & 0x7fff_ffff;
            assert_eq!(set, 0, "blocked or ignored signals in {said}");
        }
        assert_eq!(lines.len(), 4);

        let odd = OsString::from_vec(b"\xff\xfe".to_vec());
        let mut bytes = shell("printf %s \"$0\" | od -An -tx1");
        bytes.argv.push(odd);
        assert_eq!(output(&sandbox, bytes).await, " ff fe\n");

        let inside = output(
            &sandbox,
            shell("echo $PPID; ls /proc/self/fd | wc -l; id -u"),
        )
        .await;
        assert_eq!(inside, "1\n4\n0\n", "parent, descriptors, user");
    });
}

/// Inherited descriptors arrive under their numbers, even where those are the holder's own or swapped.
pub fn descriptors() {
    let sandbox = enter();
    run(async {
        let mut pipes: Vec<_> = (0..6).map(|_| std::io::pipe().unwrap()).collect();
        let numbers = [8, 7, 6, 5, 4, 3];
        let mut command = shell("for n in 3 4 5 6 7 8; do eval \"echo to $n >&$n\"; done");
        let mut readers = Vec::new();
        for number in numbers {
            let (reader, writer) = pipes.pop().unwrap();
            command.fds.push((writer.into(), number));
            readers.push((number, reader));
        }
        let child = sandbox.spawn(command).await.unwrap();
        assert_eq!(ended(child).await, exited(0));
        for (number, mut reader) in readers {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("to {number}\n"));
        }

        // A program that cannot start is told as such, whatever numbers its descriptors get.
        for number in [3, 10, 20, 100] {
            let (_, writer) = std::io::pipe().unwrap();
            let missing = Spawn {
                argv: vec!["/nonexistent/program".into()],
                fds: vec![(writer.into(), number)],
                ..Spawn::default()
            };
            let error = sandbox.spawn(missing).await.unwrap_err();
            assert_eq!(error.io_kind(), Some(ErrorKind::NotFound), "{error}");
        }
    });
}

/// Prints the message of each refused request, for the test to compare with what it should be.
pub fn errors() {
    let sandbox = enter();
    run(async {
        let segment = lab();
        sandbox.create_segment(segment.clone()).await.unwrap();
        let say = |error: SandboxError| println!("{error} [{:?}]", error.io_kind().unwrap());
        say(sandbox.create_segment(segment.clone()).await.unwrap_err());
        let mut wide = segment;
        wide.name = "wide".into();
        wide.prefix_len = 32;
        say(sandbox.create_segment(wide).await.unwrap_err());
        say(sandbox.create_port("office", "client").await.unwrap_err());
        let bind = "10.77.0.1:69".parse().unwrap();
        let options = bootgate_hostnet::UdpOptions::new(bind);
        let _taken = sandbox.udp_socket("lab", options).await.unwrap();
        say(sandbox.udp_socket("lab", options).await.unwrap_err());
        let _taken = sandbox.tcp_listener("lab", bind).await.unwrap();
        say(sandbox.tcp_listener("lab", bind).await.unwrap_err());
        let elsewhere = "10.99.0.1:80".parse().unwrap();
        say(sandbox.tcp_listener("lab", elsewhere).await.unwrap_err());
        say(sandbox.spawn(Spawn::default()).await.unwrap_err());
        let mut missing = shell("");
        missing.argv[0] = "no-such-program".into();
        say(sandbox.spawn(missing).await.unwrap_err());
        let mut nowhere = shell("");
        nowhere.cwd = Some("/nonexistent".into());
        say(sandbox.spawn(nowhere).await.unwrap_err());
        let mut twice = shell("");
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        twice.fds = vec![(null(), 5), (null(), 5)];
        say(sandbox.spawn(twice).await.unwrap_err());
        let mut long = shell("");
        long.argv.push("x".repeat(1 << 20).into());
        say(sandbox.spawn(long).await.unwrap_err());
        say(sandbox.kill(1, 99).await.unwrap_err());
        // All those refusals have cost nothing.
        sandbox.create_port("lab", "client").await.unwrap();
        println!("{}", threaded());
        sandbox.clone().shutdown().await.unwrap();
        println!("{}", sandbox.create_port("lab", "late").await.unwrap_err());
    });
}

fn threaded() -> SandboxError {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || held.recv().unwrap_err());
    let error = Sandbox::enter(crate::config()).unwrap_err();
    drop(hold);
    thread.join().unwrap();
    // The sandbox's own thread and the one above.
    assert!(matches!(error, SandboxError::Threaded { threads } if threads >= 3));
    error
}

/// Holds a sandbox with programs in it until it is told how to end; prints their process ids as the host sees them.
pub fn hold() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let _port = sandbox.create_port("lab", "client").await.unwrap();
        // An orphan of a program in a session of its own: nobody's child but the holder's.
        let (mut orphan, writer) = std::io::pipe().unwrap();
        let mut daemon =
            shell("setsid sh -c 'trap \"\" TERM INT HUP; (echo x; exec sleep 1000) & wait' &");
        daemon.stdout = Some(writer.into());
        sandbox.spawn(daemon).await.unwrap();
        orphan.read_exact(&mut [0; 2]).unwrap();
        let child = sandbox.spawn(shell("exec sleep 1000")).await.unwrap();
        println!(
            "{} {} {}",
            std::process::id(),
            sandbox.holder_pid(),
            child.host_pid.unwrap()
        );
        std::io::stdout().flush().unwrap();
        let mut order = String::new();
        let told = tokio::task::spawn_blocking(move || {
            std::io::stdin().read_line(&mut order).unwrap();
            order
        });
        tokio::select! {
            exit = sandbox.gone() => {
                let fd = child.pidfd.as_raw_fd();
                assert!(child.wait().await.is_err(), "no exit without a holder to tell it: {fd}");
                println!("gone: {exit}");
                // The thread that reads standard input would hold up the end of the runtime.
                std::process::exit(0);
            }
            order = told => match order.unwrap().trim() {
                "panic" => panic!("as told"),
                "return" => {}
                "exit" => std::process::exit(0),
                "shutdown" => tokio::time::timeout(Duration::from_secs(5), sandbox.shutdown())
                    .await
                    .unwrap()
                    .unwrap(),
                other => panic!("`{other}` is no order"),
            },
        }
    });
}
