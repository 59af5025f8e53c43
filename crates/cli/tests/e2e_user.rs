//! Runs by an ordinary user: no root, no group, no `/dev/net/tun`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::process::Command;

/// A place that the user can read, where the repository may be in root's home, with a home to write to.
fn stage(files: &[&str]) -> tempfile::TempDir {
    let stage = tempfile::tempdir().expect("a temporary folder");
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    };
    for file in files {
        copy(&support::root().join(file), &stage.path().join(file));
    }
    copy(
        Path::new(env!("CARGO_BIN_EXE_bootgate")),
        &stage.path().join("bootgate"),
    );
    std::fs::create_dir(stage.path().join("home")).expect("a folder");
    let open = Command::new("sh")
        .arg("-c")
        .arg("chmod -R a+rX . && chown -R 65534:65534 home")
        .current_dir(stage.path())
        .status();
    assert!(open.expect("sh runs").success());
    stage
}

/// A command line that the user runs in their home, after `prefix`.
fn as_user(stage: &Path, prefix: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .args(prefix)
        .env("HOME", stage.join("home"))
        .env_remove("XDG_CACHE_HOME")
        .current_dir(stage.join("home"));
    command
}

#[test]
fn an_ordinary_user_passes_the_gate() {
    require_gate!();
    bootgate_testkit::require_commands!("setpriv");
    bootgate_testkit::require_root!();
    let stage = stage(&[
        "target/media/live/vmlinuz",
        "target/media/live/initrd.img",
        "target/media/disk/disk.img",
        "fixtures/scenarios/bios-flash.toml",
        "fixtures/scenarios/uefi-flash.toml",
    ]);
    let mut command = as_user(stage.path(), &[]);
    command.arg(stage.path().join("bootgate")).arg("run");
    for name in ["bios-flash", "uefi-flash"] {
        command.arg(stage.path().join(format!("fixtures/scenarios/{name}.toml")));
    }
    command.args(["--jobs", "2"]);
    let run = support::program(command).finish();
    run.assert_code(0);
    for name in ["bios-flash", "uefi-flash"] {
        // Without `--out`, runs are put below the current folder.
        let folder = stage.path().join("home/bootgate-out").join(name);
        let verdict = support::verdict_in(&folder).expect("a verdict");
        support::assert_flashed_and_booted(&verdict["targets"][0]);
    }
}

#[test]
fn a_host_that_forbids_user_namespaces_is_told_how_to_allow_them() {
    bootgate_testkit::require_commands!("setpriv", "unshare", "qemu-system-x86_64");
    bootgate_testkit::require_root!();
    let stage = stage(&[]);
    let scenario = stage.path().join("home/s.toml");
    let text = "[boot]\nkernel = \"s.toml\"\n[[expect]]\npattern = 'up'\n\
        [[target]]\nname = \"client\"\nfirmware = \"bios\"\n";
    std::fs::write(&scenario, text).expect("a scenario");
    // A user namespace in which no further ones can be made, and the user has no rights.
    let forbid = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces\n\
         exec setpriv --bounding-set=-all --inh-caps=-all {}/bootgate \"$@\"",
        stage.path().display()
    );
    let forbidden = |args: &[&str]| {
        let prefix = ["unshare", "--user", "--map-current-user", "--keep-caps"];
        let mut command = as_user(stage.path(), &prefix);
        command.args(["sh", "-ec", &forbid, "sh"]).args(args);
        support::program(command).finish()
    };
    let run = forbidden(&["run", &scenario.display().to_string()]);
    run.assert_code(3);
    assert!(
        run.stderr.contains("user.max_user_namespaces is 0")
            && run
                .stderr
                .contains("sudo sysctl -w user.max_user_namespaces="),
        "{}",
        run.told()
    );
    assert!(
        !stage.path().join("home/bootgate-out").exists(),
        "something was started"
    );
    let doctor = forbidden(&["doctor"]);
    doctor.assert_code(3);
    let finding = doctor
        .stdout
        .lines()
        .find(|line| line.starts_with("FAIL"))
        .unwrap_or_else(|| panic!("{}", doctor.told()));
    assert!(finding.contains("user-namespaces"), "{}", doctor.told());
    assert!(
        doctor
            .stdout
            .contains("fix: sudo sysctl -w user.max_user_namespaces="),
        "{}",
        doctor.told()
    );
}
