//! A matrix, from its file to its one table.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use serde_json::Value;

/// A scenario with this matrix, that flashes the demo image. What it has for 64-bit Arm is never booted.
fn scenario(folder: &Path, matrix: &str) -> std::path::PathBuf {
    let media = support::root().join("target/media");
    let text = format!(
        "name = \"small\"\n\
         [boot]\nkernel = \"{media}/live/vmlinuz\"\ninitrd = \"{media}/live/initrd.img\"\n\
         cmdline = \"quiet cryptomgr.notests noreplace-smp\"\nimage = \"{media}/disk/disk.img\"\n\
         [[boot.for]]\narch = \"aarch64\"\nkernel = \"arm/vmlinuz\"\nimage = \"arm/disk.img\"\n\
         [[expect]]\nname = \"disk\"\npattern = 'bootgate-image: bootgate-demo-1\\b'\nstage = \"disk-boot\"\n\
         [[target]]\nname = \"client\"\n{matrix}\n",
        media = media.display()
    );
    let arm = folder.join("arm");
    std::fs::create_dir(&arm).expect("a folder");
    std::fs::write(arm.join("vmlinuz"), "a kernel").expect("a file");
    std::fs::write(arm.join("disk.img"), vec![0; 1 << 20]).expect("a file");
    let path = folder.join("small.toml");
    std::fs::write(&path, text).expect("a scenario");
    path
}

fn table(folder: &Path) -> Value {
    let path = folder.join("small/matrix.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn verdicts(table: &Value) -> Vec<(String, String)> {
    let cells = table["cells"].as_array().expect("cells");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let pair = |cell: &Value| (text(&cell["name"]), text(&cell["verdict"]));
    cells.iter().map(pair).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, verdict): &(&str, &str)| ((*name).to_owned(), (*verdict).to_owned());
    expected.iter().map(owned).collect()
}

/// Firmware of one's own that is not there: what this host cannot run.
fn absent_firmware(folder: &Path) {
    let text = "name = \"absent\"\nplatform = \"uefi-aarch64\"\nboot = \"pxe\"\n";
    std::fs::write(folder.join("absent.toml"), text).expect("a profile");
}

/// A search path with all programs of this host but those for 64-bit Arm.
fn path_without_arm(folder: &Path) -> std::ffi::OsString {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    for place in std::env::split_paths(&path)
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let link = bin.join(entry.file_name());
            let _ = std::fs::remove_file(&link);
            if entry.file_name() != "qemu-system-aarch64" {
                std::os::unix::fs::symlink(entry.path(), link).expect("a link");
            }
        }
    }
    bin.into_os_string()
}

#[test]
fn cells_run_side_by_side_and_end_in_one_table() {
    require_gate!();
    let own = tempfile::tempdir().expect("a folder");
    absent_firmware(own.path());
    let file = scenario(
        own.path(),
        "[matrix]\nfirmware = [\"bios\", \"uefi\"]\nnic = [\"virtio-net\"]\n\
         include = [{ firmware = \"absent.toml\", nic = \"virtio-net\" }]",
    );
    let mut run = support::run(&file).arg("--jobs").arg("2");
    run.command.env("PATH", path_without_arm(own.path()));
    let run = run.finish();
    run.assert_code(0);
    let table = table(&run.folder);
    let expected = pairs(&[
        ("bios+virtio-net", "passed"),
        ("uefi+virtio-net", "passed"),
        ("absent+virtio-net", "skipped"),
    ]);
    assert_eq!(verdicts(&table), expected, "{}", run.told());
    let skipped = &table["cells"][2];
    let reason = skipped["detail"].as_str().expect("a reason");
    assert!(reason.contains("qemu-system-aarch64"), "{reason}");

    // Each cell has a run folder of its own, the skipped one too, and a log that is judged alike again.
    let folder = run.folder.join("small");
    for name in ["bios+virtio-net", "uefi+virtio-net"] {
        let verdict = support::verdict_in(&folder.join(name)).expect("a verdict");
        assert_eq!(verdict["scenario"], format!("small/{name}"));
        support::assert_flashed_and_booted(&verdict["targets"][0]);
    }
    let again = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["report", "--replay"])
        .arg(folder.join("absent+virtio-net"))
        .output()
        .expect("bootgate runs");
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.status.code(), Some(0), "{told}");
    assert!(told.contains("skipped"), "{told}");

    // The terminal has the table and the count, JUnit the cells with their values, the page the links.
    assert!(
        run.stdout
            .contains("small: 3 cells: 2 passed, 1 skipped in "),
        "{}",
        run.told()
    );
    for line in run
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("firmware"))
    {
        assert!(
            line.chars().count() <= 80 || line.starts_with("table in"),
            "{line}"
        );
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a report");
    let junit = read("junit.xml");
    for part in [
        "tests=\"3\"",
        "skipped=\"1\"",
        "testcase name=\"uefi+virtio-net\"",
        "<property name=\"firmware\" value=\"absent\"",
    ] {
        assert!(junit.contains(part), "no {part} in {junit}");
    }
    let page = read("index.html");
    for name in ["bios+virtio-net", "uefi+virtio-net", "absent+virtio-net"] {
        let link = format!("{name}/report.html");
        assert!(page.contains(&link), "no link to {link}");
        assert!(folder.join(link).is_file());
    }
}

#[test]
fn one_cell_is_run_by_name_and_a_failing_one_is_red() {
    require_gate!();
    let own = tempfile::tempdir().expect("a folder");
    let file = scenario(
        own.path(),
        "[[fault]]\nserve = \"kernel\"\naction = \"not-found\"\n\
         [matrix]\nfirmware = [\"bios\", \"uefi\"]\nnic = [\"virtio-net\", \"e1000\"]",
    );
    let mut run = support::run(&file)
        .arg("--cell")
        .arg("firmware=bios,nic=virtio*");
    run.command.env("GITHUB_ACTIONS", "true");
    let run = run.finish();
    run.assert_code(1);
    let table = table(&run.folder);
    assert_eq!(verdicts(&table), pairs(&[("bios+virtio-net", "failed")]));
    assert_eq!(table["cells"][0]["cause"], "file-refused", "{table:#}");
    assert!(!run.folder.join("small/uefi+e1000").exists());
    let annotation = "::error title=small/bios+virtio-net failed at ";
    let annotations = run.stdout.lines().filter(|line| line.starts_with("::"));
    let annotations: Vec<&str> = annotations.collect();
    let [line] = annotations[..] else {
        panic!("{}", run.told())
    };
    assert!(line.starts_with(annotation), "{line}");
}

/// Without the environment that says where prepared media are.
fn bare(mut run: support::Bootgate) -> support::Bootgate {
    run.command.env_remove("BOOTGATE_IPXE");
    run
}

/// No distribution has a GRUB for BIOS ready made, and the stick's image is named by nobody here.
#[test]
fn a_loader_that_is_missing_skips_a_cell_and_fails_a_scenario() {
    require_gate!();
    let own = tempfile::tempdir().expect("a folder");
    let matrix = "[matrix]\nfirmware = [\"bios\"]\nloader = [\"grub\"]\n\
         include = [{ firmware = \"uefi-usb\", loader = \"ipxe\" }]";
    let file = scenario(own.path(), matrix);
    let run = bare(support::run(&file)).finish();
    run.assert_code(3);
    let whole = table(&run.folder);
    let skipped = pairs(&[("bios+grub", "skipped"), ("uefi-usb+ipxe", "skipped")]);
    assert_eq!(verdicts(&whole), skipped);
    for (cell, part) in [(0, "grub-mkimage"), (1, "bootgate ipxe prepare")] {
        let reason = whole["cells"][cell]["detail"].as_str().expect("a reason");
        assert!(reason.contains(part), "{reason}");
    }

    // A part of the matrix leaves the whole one's table alone, and says so.
    let mut part = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate"));
    part.arg("run")
        .arg(&file)
        .args(["--cell", "uefi*", "--out"]);
    part.arg(&run.folder);
    let part = bare(support::program(part)).finish();
    part.assert_code(3);
    assert!(part.stdout.contains("stays as it was"), "{}", part.told());
    assert_eq!(verdicts(&table(&run.folder)), skipped);

    // The same without a matrix: somebody asked for this boot.
    let text = std::fs::read_to_string(&file).expect("the scenario");
    let alone = text.replace(matrix, "firmware = \"bios\"\nboot = { loader = \"grub\" }");
    std::fs::write(&file, alone).expect("a scenario");
    let run = bare(support::run(&file)).finish();
    run.assert_code(3);
    let verdict = run.verdict();
    assert_eq!(
        (&verdict["verdict"], &verdict["cause"]),
        (&"infra".into(), &"loader-missing".into()),
        "{verdict:#}"
    );
}

#[test]
fn a_matrix_of_which_nothing_can_run_is_not_green() {
    require_gate!();
    let own = tempfile::tempdir().expect("a folder");
    absent_firmware(own.path());
    let file = scenario(own.path(), "[matrix]\nfirmware = [\"absent.toml\"]");
    let mut run = support::run(&file);
    run.command.env("PATH", path_without_arm(own.path()));
    let run = run.finish();
    run.assert_code(3);
    assert!(
        run.stderr.contains("every cell was skipped"),
        "{}",
        run.told()
    );
    assert_eq!(
        verdicts(&table(&run.folder)),
        pairs(&[("absent", "skipped")])
    );
}

#[test]
fn a_cell_that_is_not_there_ends_with_2() {
    let own = tempfile::tempdir().expect("a folder");
    let text = "boot = { kernel = \"k\" }\nexpect = [{ pattern = \"up\" }]\n[[target]]\nname = \"a\"\n\
        [matrix]\nfirmware = [\"bios\", \"uefi\"]\n";
    std::fs::write(own.path().join("k"), "a kernel").expect("a file");
    let file = own.path().join("small.toml");
    std::fs::write(&file, text).expect("a scenario");
    let run = support::run(&file).arg("--cell").arg("arm64").finish();
    run.assert_code(2);
    assert!(
        run.stderr.contains("there are bios, uefi"),
        "{}",
        run.told()
    );
    assert!(!run.folder.exists(), "something was started");
}
