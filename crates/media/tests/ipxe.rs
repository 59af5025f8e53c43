//! Boot media from Debian's real packages.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootgate_media::ipxe::{
    Arch, FetchOptions, Format, Package, Prepared, Role, Sources, fetch, inspect, prepare, script,
};
use bootgate_testkit::{require_commands, skip};

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// The packages of a suite, kept for the next time; `None` without a network.
fn packages(suite: &str) -> Result<Vec<Package>, String> {
    let folder = target().join("ipxe").join(suite);
    let options = FetchOptions {
        suite: suite.to_owned(),
        folder,
        etc: "/etc/apt".into(),
    };
    fetch(&options).map_err(|error| error.to_string())
}

fn from_packages(packages: Vec<Package>) -> Sources {
    Sources {
        packages,
        ..Sources::default()
    }
}

/// Every file below a folder, by its path there.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = PathBuf::from(path.file_name().expect("a name"));
        if path.is_dir() {
            let inner = content(&path).into_iter();
            all.extend(inner.map(|(path, bytes)| (name.join(path), bytes)));
        } else {
            all.insert(name, fs::read(&path).expect("a file"));
        }
    }
    all
}

#[test]
fn the_same_packages_give_the_same_bytes() {
    require_commands!("apt-get", "dpkg-deb");
    let packages = match packages("trixie") {
        Ok(packages) => packages,
        Err(error) => skip!("no packages of trixie: {error}"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other/deep"));
    prepare(&from_packages(packages.clone()), 80, &one).expect("media");
    // Other places, other times of files, another order.
    let copies = folder.path().join("copies");
    fs::create_dir(&copies).expect("a folder");
    let mut copied: Vec<Package> = packages
        .iter()
        .map(|package| {
            let path = copies.join(package.path.file_name().expect("a name"));
            fs::copy(&package.path, &path).expect("a copy");
            let verified = package.verified.clone();
            Package { path, verified }
        })
        .collect();
    copied.reverse();
    prepare(&from_packages(copied), 80, &other).expect("media");
    let (one_files, other_files) = (content(&one), content(&other));
    assert_eq!(
        one_files.keys().collect::<Vec<_>>(),
        other_files.keys().collect::<Vec<_>>()
    );
    for (path, bytes) in &one_files {
        assert!(other_files[path] == *bytes, "{} differs", path.display());
    }
    // Prepared again over itself: nothing changes, and nothing of before stays.
    fs::write(one.join("own.txt"), "an operator's").expect("a file");
    let again = prepare(&from_packages(packages), 8080, &one).expect("media");
    again.verify().expect("as the manifest says");
    assert!(one.join("own.txt").is_file());
    assert_ne!(
        content(&one)[Path::new("bootgate.iso")],
        one_files[Path::new("bootgate.iso")]
    );
}

#[test]
fn debians_package_makes_all_there_is() {
    require_commands!("apt-get", "dpkg-deb");
    for suite in ["trixie", "sid"] {
        let packages = match packages(suite) {
            Ok(packages) => packages,
            Err(error) => skip!("no packages of {suite}: {error}"),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let made = prepare(&from_packages(packages), 80, &out).expect("media");
        let loaded = Prepared::load(&out).expect("a prepared folder");
        assert_eq!(made, loaded);
        loaded.verify().expect("as the manifest says");
        let manifest = &loaded.manifest;
        assert_eq!(manifest.notes, Vec::<String>::new());
        let package = manifest.sources.iter().find(|source| source.name == "ipxe");
        let version = package.expect("the package").version.clone();
        eprintln!("{suite} has iPXE {version:?}");
        for (arch, by_class, alone) in [
            (Arch::Bios, "undionly.kpxe", "pxelinux.0"),
            (Arch::UefiX64, "snponly.efi", "snponly.efi"),
            (Arch::UefiArm64, "ipxe-arm64.efi", "ipxe-arm64.efi"),
        ] {
            assert_eq!(loaded.bootfile(arch), Some(out.join(by_class)));
            assert_eq!(loaded.bootfile_alone(arch), Some(out.join(alone)));
        }
        for (role, format, autoexec) in [
            (Role::BiosUndionly, Format::Pxe, None),
            (Role::BiosLkrn, Format::Lkrn, None),
            (Role::UefiX64Snp, Format::Efi, Some(true)),
            (Role::UefiX64, Format::Efi, Some(true)),
            (Role::UefiArm64, Format::Efi, Some(true)),
        ] {
            let file = manifest.file(role).expect("a file");
            assert_eq!((file.format, file.autoexec), (Some(format), autoexec));
            // Each says the same version in its own way; for one that says none, it is the package's.
            assert_eq!(file.version, version, "{}", file.path);
        }
        let pxelinux = manifest.file(Role::Pxelinux).expect("pxelinux");
        assert!(pxelinux.made_from.is_some(), "it is told its configuration");
        assert_eq!(
            fs::read_to_string(loaded.script()).expect("the script"),
            script(80)
        );
    }
}

#[test]
fn old_ipxe_is_recognised() {
    let old = Path::new("/usr/lib/ipxe/snponly.efi");
    let Ok(bytes) = fs::read(old) else {
        skip!("ipxe is not installed");
    };
    let seen = inspect(&bytes).expect("a program");
    if !seen
        .version
        .as_deref()
        .is_some_and(|version| version.contains("git-2019"))
    {
        skip!("the host's iPXE is not of 2019: {seen:?}");
    }
    assert_eq!(seen.autoexec, Some(false));
    let folder = tempfile::tempdir().expect("a folder");
    let sources = Sources {
        own: vec![(Role::UefiX64, old.to_owned())],
        host: Some("/".into()),
        ..Sources::default()
    };
    let made = prepare(&sources, 80, folder.path()).expect("media");
    assert_eq!(made.bootfile_alone(Arch::UefiX64), None);
    assert_eq!(
        made.bootfile(Arch::UefiX64),
        Some(folder.path().join("ipxe-amd64.efi"))
    );
    assert_eq!(
        made.bootfile(Arch::Bios),
        None,
        "the host's own are not mixed in"
    );
    let told = made.manifest.notes.join("\n");
    assert!(told.contains("too old for autoexec.ipxe"), "{told}");
    assert!(told.contains("user class iPXE"), "{told}");
}

#[test]
fn what_is_no_ipxe_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("other.efi");
    for (bytes, told) in [
        (b"#!/bin/sh\n".to_vec(), "no PE program"),
        (pe(0x8664, 10, b""), "does not say that it is iPXE"),
        (pe(0x014c, 10, b"iPXE"), "processor type `0x014c`"),
        (pe(0x8664, 3, b"iPXE"), "subsystem `3`"),
        (pe(0xaa64, 10, b"iPXE"), "it is `efi` for `uefi-arm64`"),
    ] {
        fs::write(&file, bytes).expect("a file");
        let sources = Sources {
            own: vec![(Role::UefiX64, file.clone())],
            ..Sources::default()
        };
        let error = prepare(&sources, 80, &folder.path().join("out")).expect_err("no program");
        assert!(error.to_string().contains(told), "{error}");
    }
    let error = prepare(&Sources::default(), 80, &folder.path().join("out")).expect_err("nothing");
    assert!(
        error.to_string().contains("no program of iPXE was found"),
        "{error}"
    );
}

/// The fewest bytes that are a PE program.
fn pe(machine: u16, subsystem: u16, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x40;
    bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
    bytes[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    bytes[0x40 + 92..0x40 + 94].copy_from_slice(&subsystem.to_le_bytes());
    bytes.extend(text);
    bytes
}

#[test]
fn a_changed_file_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.efi");
    let mut bytes = pe(0x8664, 10, b"iPXE\0autoexec.ipxe\0");
    fs::write(&file, &bytes).expect("a file");
    let out = folder.path().join("out");
    let sources = Sources {
        own: vec![(Role::UefiX64, file)],
        ..Sources::default()
    };
    let made = prepare(&sources, 80, &out).expect("media");
    made.verify().expect("as it was made");
    assert_eq!(
        made.bootfile_alone(Arch::UefiX64),
        Some(out.join("ipxe-amd64.efi"))
    );
    bytes.push(0);
    fs::write(out.join("ipxe-amd64.efi"), bytes).expect("a file");
    let error = made.verify().expect_err("it has changed");
    assert!(error.to_string().contains("ipxe-amd64.efi"), "{error}");
}

#[test]
fn the_image_is_read_by_others() {
    require_commands!("apt-get", "dpkg-deb", "bsdtar", "fsck.fat");
    let packages = match packages("trixie") {
        Ok(packages) => packages,
        Err(error) => skip!("no packages of trixie: {error}"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let made = prepare(&from_packages(packages), 80, folder.path()).expect("media");
    let iso = made.iso().expect("an image");
    let out = folder.path().join("files");
    fs::create_dir(&out).expect("a folder");
    run(Command::new("bsdtar")
        .arg("-xf")
        .arg(&iso)
        .arg("-C")
        .arg(&out));
    let files = content(&out);
    let lkrn = fs::read(made.file(Role::BiosLkrn).expect("lkrn")).expect("a file");
    assert!(files[Path::new("IPXE.LKRN")] == lkrn);
    assert_eq!(files[Path::new("AUTOEXEC.IPXE")], script(80).into_bytes());
    run(Command::new("fsck.fat").arg("-vn").arg(out.join("EFI.IMG")));
    assert_eq!(
        files[Path::new("ISOLINUX.CFG")],
        files_of(&made, Role::PxelinuxConfig)
    );
    // The partition table says where it is.
    let bytes = fs::read(&iso).expect("the image");
    let start = u32::from_le_bytes(bytes[454..458].try_into().expect("four bytes")) as usize * 512;
    let esp = &files[Path::new("EFI.IMG")];
    assert_eq!((bytes[446], bytes[450]), (0x80, 0xef));
    assert!(bytes[start..start + esp.len()] == **esp);
}

fn files_of(made: &Prepared, role: Role) -> Vec<u8> {
    fs::read(made.file(role).expect("a file")).expect("its bytes")
}

fn run(command: &mut Command) {
    let output = command.output().expect("run it");
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
