//! The live environment and the kernel modules in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootgate_media::cpio::Compression;
use bootgate_media::live::{self, LiveInputs, LiveMedia, LiveRecipe};
use bootgate_media::{Arch, MediaError, kernel};
use common::FakeKernel;

fn recipe(modules: &[&str], optional: &[&str]) -> LiveRecipe {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    LiveRecipe {
        profile: "test".to_owned(),
        arch: Arch::X86_64,
        drivers: Vec::new(),
        modules: owned(modules),
        optional_modules: owned(optional),
        compression: Compression::None,
        max_initrd_mib: 12,
    }
}

fn agent(folder: &Path) -> PathBuf {
    let path = folder.join("agent");
    fs::write(&path, common::static_program()).unwrap();
    path
}

fn build(kernel: &FakeKernel, recipe: &LiveRecipe, out: &Path) -> Result<LiveMedia, MediaError> {
    let kernel = kernel.find();
    let agent = agent(&kernel.modules);
    live::build(
        recipe,
        &LiveInputs {
            kernel: &kernel,
            agent: &agent,
            epoch: 0,
        },
        out,
    )
}

fn modules_of(kernel: &FakeKernel, modules: &[&str], optional: &[&str]) -> Vec<String> {
    let out = tempfile::tempdir().unwrap();
    build(kernel, &recipe(modules, optional), out.path())
        .unwrap()
        .modules
}

fn failure(kernel: &FakeKernel, modules: &[&str]) -> String {
    let out = tempfile::tempdir().unwrap();
    build(kernel, &recipe(modules, &[]), out.path())
        .unwrap_err()
        .to_string()
}

/// Unpacks a RAM disk that is not compressed, beside it.
fn unpack(media: &LiveMedia) -> PathBuf {
    let folder = media.initrd.with_extension("unpacked");
    fs::create_dir(&folder).unwrap();
    let status = Command::new("cpio")
        .args(["--extract", "--quiet", "--no-absolute-filenames", "--file"])
        .arg(&media.initrd)
        .current_dir(&folder)
        .status()
        .unwrap();
    assert!(status.success());
    folder
}

#[test]
fn modules_come_after_what_they_depend_on_and_once() {
    let kernel = FakeKernel::new();
    kernel.module("kernel/net/top.ko", &["depends=middle,base-part,built_in"]);
    kernel.module("kernel/net/middle.ko", &["depends=base-part"]);
    kernel.module("kernel/lib/base-part.ko", &["depends="]);
    kernel.module("kernel/net/other.ko", &["depends=base_part"]);
    let order = modules_of(&kernel, &["top", "other", "top"], &[]);
    assert_eq!(order, ["base_part", "middle", "top", "other"]);
}

#[test]
fn soft_dependencies_are_taken_where_they_exist() {
    let kernel = FakeKernel::new();
    kernel.module("kernel/a.ko", &["softdep=pre: before absent post: after"]);
    kernel.module("kernel/before.ko", &[]);
    kernel.module("kernel/after.ko", &[]);
    assert_eq!(modules_of(&kernel, &["a"], &[]), ["before", "a", "after"]);
}

#[test]
fn built_in_and_optional_modules_are_passed_over() {
    let kernel = FakeKernel::new();
    kernel.module("kernel/a.ko", &[]);
    assert_eq!(
        modules_of(&kernel, &["built-in", "a"], &["absent", "a"]),
        ["a"]
    );
}

#[test]
fn compressed_modules_are_unpacked() {
    bootgate_testkit::require_commands!("xz", "gzip");
    let kernel = FakeKernel::new();
    let plain = common::elf_with_modinfo(&[format!("vermagic={} x", common::VERSION)]);
    kernel.file("kernel/a.ko.zst", &zstd::bulk::compress(&plain, 3).unwrap());
    for (name, program) in [("b", "xz"), ("c", "gzip")] {
        let path = format!("kernel/{name}.ko");
        kernel.file(&path, &plain);
        let path = kernel.find().modules.join(path);
        assert!(Command::new(program).arg(path).status().unwrap().success());
    }
    let out = tempfile::tempdir().unwrap();
    let media = build(&kernel, &recipe(&["a", "b", "c"], &[]), out.path()).unwrap();
    assert_eq!(media.modules, ["a", "b", "c"]);
    // All three are in the archive as they were before.
    let archive = fs::read(media.initrd).unwrap();
    let copies = archive
        .windows(plain.len())
        .filter(|part| *part == plain)
        .count();
    assert_eq!(copies, 3);
}

#[test]
fn unusable_modules_are_named() {
    let kernel = FakeKernel::new();
    kernel.module("kernel/needs.ko", &["depends=absent"]);
    kernel.module("kernel/foreign.ko", &["vermagic=5.10.0-1-amd64 SMP"]);
    kernel.file("kernel/broken.ko", b"\x7fELF\x02\x01 cut short");
    assert!(failure(&kernel, &["needs"]).contains("`absent`"));
    let foreign = failure(&kernel, &["foreign"]);
    assert!(
        foreign.contains("`foreign`") && foreign.contains("`5.10.0-1-amd64`"),
        "{foreign}"
    );
    assert!(failure(&kernel, &["broken"]).contains("cut short"));
}

#[test]
fn drivers_are_indexed_by_what_they_are_for() {
    bootgate_testkit::require_commands!("cpio");
    let kernel = FakeKernel::new();
    kernel.module("kernel/lib/crc.ko", &["alias=crypto-crc"]);
    kernel.module("kernel/lib/mid.ko", &["softdep=pre: crc", "depends="]);
    let nic = [
        "depends=mid",
        "alias=pci:v000014E4d*sv*sd*bc02sc*i*",
        "alias=mdio:*",
        "firmware=nic/one.bin",
        "firmware=nic/two.bin",
        "firmware=../outside",
    ];
    kernel.module("kernel/net/nic.ko", &nic);
    kernel.module("kernel/net/always.ko", &[]);
    let firmware = kernel.root.path().join("lib/firmware/nic");
    fs::create_dir_all(&firmware).unwrap();
    fs::write(firmware.join("one.bin"), "one").unwrap();
    fs::write(kernel.root.path().join("lib/outside"), "no").unwrap();

    let out = tempfile::tempdir().unwrap();
    let mut recipe = recipe(&["always"], &[]);
    recipe.drivers = ["nic", "other", "built-in"].map(str::to_owned).into();
    let media = build(&kernel, &recipe, out.path()).unwrap();
    assert_eq!(media.modules, ["always"]);
    assert_eq!(media.drivers, ["crc", "mid", "nic"]);
    assert_eq!(media.absent_drivers, ["other"]);
    let [absent] = media.absent_firmware.as_slice() else {
        panic!("{:?}", media.absent_firmware);
    };
    assert_eq!(
        (absent.module.as_str(), absent.files.join(" ").as_str()),
        ("nic", "../outside nic/two.bin")
    );

    let unpacked = unpack(&media);
    let folder = unpacked.join("lib/modules").join(common::VERSION);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(
        read("modules.dep"),
        "kernel/lib/crc.ko:\nkernel/lib/mid.ko: kernel/lib/crc.ko\n\
         kernel/net/nic.ko: kernel/lib/mid.ko kernel/lib/crc.ko\n"
    );
    assert_eq!(
        read("modules.alias"),
        "alias crypto-crc crc\nalias pci:v000014E4d*sv*sd*bc02sc*i* nic\nalias mdio:* nic\n"
    );
    assert!(folder.join("kernel/net/nic.ko").is_file());
    let one = fs::read_to_string(unpacked.join("lib/firmware/nic/one.bin"));
    assert_eq!(one.unwrap(), "one");
    assert!(!unpacked.join("lib/outside").exists());
}

#[test]
fn larger_than_allowed_is_an_error_that_leaves_nothing() {
    let kernel = FakeKernel::new();
    let out = tempfile::tempdir().unwrap();
    let mut recipe = recipe(&[], &[]);
    recipe.max_initrd_mib = 0;
    let error = build(&kernel, &recipe, out.path()).unwrap_err();
    assert!(
        matches!(error, MediaError::TooLarge { limit: 0, .. }),
        "{error}"
    );
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn agent_that_needs_shared_libraries_is_refused() {
    let package = FakeKernel::new();
    let kernel = package.find();
    let out = tempfile::tempdir().unwrap();
    // The test itself is linked dynamically.
    let agent = std::env::current_exe().unwrap();
    let inputs = LiveInputs {
        kernel: &kernel,
        agent: &agent,
        epoch: 0,
    };
    let error = live::build(&recipe(&[], &[]), &inputs, out.path()).unwrap_err();
    assert!(error.to_string().contains("crt-static"), "{error}");
}

#[test]
fn exactly_one_kernel_must_be_there() {
    let kernel = FakeKernel::new();
    let boot = kernel.root.path().join("boot");
    fs::write(boot.join("vmlinuz-7.0"), "").unwrap();
    let error = kernel::find(kernel.root.path()).unwrap_err().to_string();
    assert!(error.contains("`6.1.0-test`, `7.0`"), "{error}");
    fs::remove_file(boot.join(format!("vmlinuz-{}", common::VERSION))).unwrap();
    let error = kernel::find(kernel.root.path()).unwrap_err().to_string();
    assert!(error.contains("no modules of version `7.0`"), "{error}");
    fs::remove_file(boot.join("vmlinuz-7.0")).unwrap();
    assert!(kernel::find(kernel.root.path()).is_err());
}

#[test]
fn recipe_with_an_unknown_key_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.toml");
    fs::write(&path, "profile = \"vm\"\nmodules = []\nmodule = [\"a\"]\n").unwrap();
    let error = LiveRecipe::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("line 3") && error.contains("`module`"),
        "{error}"
    );
    assert!(error.contains("live.toml"), "{error}");
}

#[test]
fn cpio_reads_the_archive() {
    bootgate_testkit::require_commands!("cpio");
    let kernel = FakeKernel::new();
    kernel.module("kernel/a.ko", &[]);
    let out = tempfile::tempdir().unwrap();
    let media = build(&kernel, &recipe(&["a"], &[]), out.path()).unwrap();
    let unpacked = unpack(&media);
    let list = fs::read_to_string(unpacked.join("etc/bootgate/modules")).unwrap();
    assert_eq!(
        list,
        format!("/lib/modules/{}/kernel/a.ko\n", common::VERSION)
    );
    for path in list.lines() {
        assert!(unpacked.join(&path[1..]).is_file(), "{path}");
    }
    assert_eq!(
        fs::read(unpacked.join("init")).unwrap(),
        common::static_program()
    );
}

#[test]
fn same_input_gives_the_same_bytes_whatever_the_host() {
    let real = real!();
    let recipe = LiveRecipe::load(&common::recipe("live.toml")).unwrap();
    let agent = real.programs.join("bootgate-agent");
    let mut inputs = LiveInputs {
        kernel: &real.kernel,
        agent: &agent,
        epoch: 7,
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = live::build(&recipe, &inputs, one.path()).unwrap();
    // A copy has another time, inode, mode and place.
    let copy = two.path().join("copy");
    fs::copy(&agent, &copy).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    inputs.agent = &copy;
    let second = live::build(&recipe, &inputs, &two.path().join("deep/out")).unwrap();
    assert_eq!(first.initrd_sha256, second.initrd_sha256);
    assert_eq!(
        fs::read(&first.initrd).unwrap(),
        fs::read(&second.initrd).unwrap()
    );
    inputs.epoch = 8;
    let third = live::build(&recipe, &inputs, two.path()).unwrap();
    assert_ne!(first.initrd_sha256, third.initrd_sha256);

    let place = |name: &str| {
        first
            .modules
            .iter()
            .position(|module| module == name)
            .unwrap()
    };
    assert!(place("virtio") < place("virtio_pci"), "{:?}", first.modules);
    assert!(place("failover") < place("net_failover"));
    assert!(place("net_failover") < place("virtio_net"));
    assert!(first.initrd_size < 12 << 20);
}
