//! The service's unit, and the Debian package.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, Program, sh, told};

const FULL: &str = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n[[subnet]]\nnetwork = \"10.77.0.0/24\"\n\
    ranges = \"10.77.0.100-10.77.0.109\"\nipv6 = { prefix = \"fd00:77::/64\" }\n";
/// A user of nobody's.
const USER: &str = "65534";

fn top() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().expect("the repository")
}

fn unit() -> String {
    std::fs::read_to_string(top().join("ci/package/bootgate.service")).expect("the unit")
}

/// The words of a setting, of all its lines.
fn setting(name: &str) -> Vec<String> {
    let unit = unit();
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let words: Vec<_> = lines
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    assert!(!words.is_empty(), "no {name}");
    words
}

#[test]
fn systemd_takes_the_unit_and_finds_it_little_exposed() {
    require_commands!("systemd-analyze");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bootgate.service");
    // The program is where it was built, and the manual page nowhere yet.
    std::fs::write(&path, unit().replace("/usr/bin/bootgate", BOOTGATE)).expect("the unit");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .expect("run systemd-analyze");
    // Units of the host that it needs may be missing in a container; what is said about this one counts.
    let said = told(&verify);
    let ours = |line: &&str| line.contains("bootgate.service") && !line.contains("not found");
    let wrong: Vec<&str> = said.lines().filter(ours).collect();
    assert!(wrong.is_empty(), "{said}");
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&path)
        .output()
        .expect("run systemd-analyze");
    let said = told(&security);
    let line = said
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let line = line.unwrap_or_else(|| panic!("no score: {said}"));
    let score = line
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let score: f64 = score.expect("a score").parse().expect("a number");
    assert!(score <= 2.0, "{line}");
}

/// The server as the unit starts it: another user, its capabilities and no others, nothing to be gained.
fn hardened(config: &Path, before: &[&str]) -> Program {
    let names = |setting: &[String], sign: &str| {
        let names = setting
            .iter()
            .map(|name| name.trim_start_matches("CAP_").to_lowercase());
        names
            .map(|name| format!("{sign}{name}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let ambient = setting("AmbientCapabilities");
    let bounding = setting("CapabilityBoundingSet");
    assert_eq!(setting("NoNewPrivileges"), ["yes"]);
    let mut command = Command::new(before.first().copied().unwrap_or("setpriv"));
    command.args(before.get(1..).unwrap_or_default());
    if !before.is_empty() {
        command.arg("setpriv");
    }
    command
        .args([
            &format!("--reuid={USER}"),
            &format!("--regid={USER}"),
            "--clear-groups",
        ])
        .arg(format!("--bounding-set=-all,{}", names(&bounding, "+")))
        .arg(format!("--inh-caps=-all,{}", names(&ambient, "+")))
        .arg(format!("--ambient-caps=-all,{}", names(&ambient, "+")))
        .args(["--no-new-privs", BOOTGATE, "serve", "--config"])
        .arg(config);
    let mut server = Program::start(command);
    server.wait_for("state in ");
    server
}

/// A cable whose folder the server's user can work in.
fn cable() -> (Cable, PathBuf) {
    let cable = Cable::new();
    sh("ip -6 addr add fd00:77::1/64 dev srv0 nodad");
    let boot = cable.path("boot");
    std::fs::create_dir(&boot).expect("a folder");
    std::fs::write(boot.join("a.bin"), vec![7; 5000]).expect("a file");
    let config = format!(
        "{FULL}\n[boot]\nfolder = {:?}\n",
        boot.display().to_string()
    );
    let config = cable.config(&config);
    let state = cable.path("state");
    std::fs::create_dir(&state).expect("a folder");
    sh(&format!(
        "chmod 755 {0}; chmod 700 {1}; chown {USER}:{USER} {1}",
        cable.folder.path().display(),
        state.display()
    ));
    (cable, config)
}

/// What clients do, and an operator.
fn used(cable: &Cable, server: &mut Program) {
    assert!(
        cable
            .udhcpc(&[])
            .expect("an address")
            .contains("ip=10.77.0.10")
    );
    let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
    cable.udhcpc(&firmware).expect("an address");
    cable.client(
        "python3 -c \"import urllib.request as u; assert len(u.urlopen('http://10.77.0.1/artifacts/a.bin').read()) == 5000\"",
    );
    cable.client("cd /tmp && tftp -m binary 10.77.0.1 -c get a.bin /dev/null");
    sh(&format!("kill -HUP {}", server.pid()));
    server.wait_for("nothing changed");
}

#[test]
fn the_units_user_and_capabilities_are_enough() {
    require_root!();
    require_commands!(
        "unshare", "nsenter", "ip", "udhcpc", "setpriv", "python3", "tftp"
    );
    assert!(in_namespaces(|| {
        let (cable, config) = cable();
        let mut server = hardened(&config, &[]);
        used(&cable, &mut server);
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
        let status = status.expect("its status");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}"))
                .trim()
                .to_owned()
        };
        // CAP_NET_BIND_SERVICE is 10, CAP_NET_RAW is 13 (linux/capability.h).
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
            assert_eq!(of(set), "0000000000002400", "{set} {status}");
        }
        assert_eq!(of("NoNewPrivs:"), "1");
        assert!(of("Uid:").starts_with(USER));
        let (ended, said) = server.stop("TERM");
        assert_eq!(ended.code(), Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
    }));
}

/// The system calls of a group, as systemd knows them.
fn group(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", name])
        .output();
    let mut all = BTreeSet::new();
    for line in told(&output.expect("run systemd-analyze")).lines().skip(1) {
        match line.trim() {
            line if line.starts_with('@') => all.extend(group(line)),
            line if line.is_empty() || line.starts_with('#') => {}
            line => drop(all.insert(line.to_owned())),
        }
    }
    all
}

#[test]
fn the_units_filter_lets_the_servers_system_calls_through() {
    require_root!();
    require_commands!(
        "unshare",
        "nsenter",
        "ip",
        "udhcpc",
        "setpriv",
        "python3",
        "tftp",
        "strace",
        "systemd-analyze"
    );
    assert!(in_namespaces(|| {
        let (cable, config) = cable();
        let trace = cable.path("trace");
        let path = trace.display().to_string();
        let mut server = hardened(&config, &["strace", "-D", "-f", "-qq", "-o", &path]);
        used(&cable, &mut server);
        let (ended, said) = server.stop("TERM");
        assert_eq!(ended.code(), Some(0), "{said}");
        let mut allowed = BTreeSet::new();
        for word in setting("SystemCallFilter") {
            let (taken, name) = match word.strip_prefix('~') {
                Some(name) => (true, name),
                None => (false, &*word),
            };
            let group = group(name);
            assert!(!group.is_empty(), "{name}");
            match taken {
                true => allowed.retain(|call| !group.contains(call)),
                false => allowed.extend(group),
            }
        }
        let text = std::fs::read_to_string(&trace).expect("the trace");
        // What setpriv does comes before: the server begins with the second program that is started.
        let begun = text
            .rmatch_indices("execve(")
            .next()
            .expect("it was started")
            .0;
        let calls = text[begun..].lines().skip(1).filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start();
            let name = call.split_once('(')?.0;
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            plain.then(|| name.to_owned())
        });
        let calls: BTreeSet<String> = calls.collect();
        assert!(calls.len() > 40 && calls.contains("bind"), "{calls:?}");
        let refused: Vec<_> = calls.difference(&allowed).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }));
}

fn package(out: &Path) {
    let output = Command::new(top().join("ci/package/build"))
        .args([Path::new(BOOTGATE), out])
        .env("SOURCE_DATE_EPOCH", "1790000000")
        // A program with all that debuggers need is large, and gzip is quick.
        .env("BOOTGATE_DEB_COMPRESSION", "gzip")
        .output()
        .expect("build the package");
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_package_is_the_same_each_time_and_installs() {
    require_root!();
    require_commands!(
        "dpkg-deb", "strip", "objdump", "unshare", "chroot", "adduser"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let deb = folder.path().join("bootgate.deb");
    let again = folder.path().join("again.deb");
    package(&deb);
    package(&again);
    let same = std::fs::read(&deb).expect("a package") == std::fs::read(&again).expect("a package");
    assert!(same, "the packages differ");
    let deb = deb.display();
    let contents = sh(&format!("dpkg-deb -c {deb}"));
    for file in [
        "./usr/bin/bootgate",
        "./lib/systemd/system/bootgate.service",
        "./etc/bootgate/serve.toml",
        "./usr/share/man/man1/bootgate.1.gz",
        "./usr/share/doc/bootgate/serve.md",
        "./usr/share/bash-completion/completions/bootgate",
    ] {
        assert!(contents.contains(file), "no {file}: {contents}");
    }
    assert!(
        !contents.contains(" 65534/") && contents.contains("root/root"),
        "{contents}"
    );
    assert!(sh(&format!("dpkg-deb -I {deb}")).contains("Package: bootgate"));
    if bootgate_testkit::command_exists("lintian") {
        let lintian = sh(&format!("lintian --fail-on none {deb} 2>&1"));
        let errors: Vec<&str> = lintian
            .lines()
            .filter(|line| line.starts_with("E:"))
            .collect();
        assert!(errors.is_empty(), "{lintian}");
    }
    // This host's system with a layer over it that goes away with the mounts.
    let script = format!(
        "mount -t tmpfs tmpfs /mnt; mkdir /mnt/u /mnt/w /mnt/m
         mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m
         cp {deb} /mnt/m/root/bootgate.deb
         chroot /mnt/m sh -ec '
             dpkg -i /root/bootgate.deb
             getent passwd bootgate
             stat -c %U:%a /var/lib/bootgate
             bootgate --version
             if bootgate serve --check; then exit 1; fi
             sed -i \"s/^# \\(\\[\\[interface\\]\\]\\|name = .eth1.\\|dhcp = .proxy.\\)/\\1/\" /etc/bootgate/serve.toml
             sed -i \"/only DHCP server/,\\$ s/^/# /\" /etc/bootgate/serve.toml
             bootgate serve --check
             dpkg --purge bootgate
             test ! -e /var/lib/bootgate; test ! -e /etc/bootgate/serve.toml; test ! -e /usr/bin/bootgate'"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .output()
        .expect("run unshare");
    let said = told(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "bootgate:700",
        "bootgate 0.",
        "/etc/bootgate/serve.toml: good",
        "no interface is to be served",
    ] {
        assert!(said.contains(line), "no `{line}`: {said}");
    }
}
