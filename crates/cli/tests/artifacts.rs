//! Artifacts and images as operators have them: uploaded, named, listed, fetched and removed, by a server that runs and
//! without one.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;
mod relay;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use lab::{BOOTGATE, Lab, SERVER, serving, sh, told};
use relay::in_client;
use serde_json::Value;

/// Most memory that a server may have while a large file comes, in KiB.
const MEMORY: u64 = 64 << 10;

fn a_lab() -> Lab {
    let more = "\n[live]\nkernel = \"@/none\"\ninitrd = [\"@/none\"]\n";
    let lab = Lab::new(&serving(16, "10.77.1.0-10.77.2.255", more));
    std::fs::write(lab.path("none"), "x").expect("a file");
    lab
}

/// Makes a file in the lab's folder; its path as text.
fn file(lab: &Lab, name: &str, bytes: &[u8]) -> String {
    let path = lab.path(name);
    std::fs::write(&path, bytes).expect("a file");
    path.to_str().expect("text").to_owned()
}

/// So many bytes that cannot be packed (xorshift).
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next)
        .take(count.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(count);
    bytes
}

fn sha256(path: impl AsRef<Path>) -> String {
    let line = sh(&format!("sha256sum < '{}'", path.as_ref().display()));
    line.split(' ').next().expect("a digest").to_owned()
}

fn names(lab: &Lab) -> Vec<String> {
    let all = lab.list(&["artifact", "list"]);
    let name = |one: &Value| one["name"].as_str().expect("a name").to_owned();
    all.iter().map(name).collect()
}

/// A command that must be refused; what it says.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.try_bootgate(arguments);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{arguments:?}: {}",
        told(&output)
    );
    told(&output)
}

fn everyday(lab: &Lab) {
    let one = file(lab, "one.ipxe", b"#!ipxe\nexit\n");
    let two = file(lab, "two.ipxe", b"#!ipxe\nshell\n");
    let up = |file: &str, name: &str| lab.json(&["artifact", "upload", file, "--name", name]);
    let first = up(&one, "scripts/a.ipxe");
    assert_eq!(first["sha256"], sha256(&one));
    assert_eq!(
        (&first["role"], &first["media_type"]),
        (&"script".into(), &"text/plain".into())
    );
    // The same again changes nothing, and other bytes are refused.
    assert_eq!(up(&one, "scripts/a.ipxe"), first);
    let said = refused(
        lab,
        &["artifact", "upload", &two, "--name", "scripts/a.ipxe"],
    );
    assert!(said.contains("--replace"), "{said}");
    let said = refused(
        lab,
        &["artifact", "upload", &two, "--sha256", &sha256(&one)],
    );
    assert!(said.contains("has the digest"), "{said}");
    up(&two, "scripts/b.ipxe");
    lab.bootgate(&["artifact", "alias", "stable", "scripts/a.ipxe"]);
    let said = refused(lab, &["artifact", "delete", "scripts/a.ipxe"]);
    assert!(said.contains("alias `stable`"), "{said}");
    refused(lab, &["artifact", "alias", "stable", "scripts/b.ipxe"]);
    lab.bootgate(&["artifact", "alias", "stable", "scripts/b.ipxe", "--replace"]);
    lab.bootgate(&["artifact", "delete", "scripts/a.ipxe"]);
    assert_eq!(names(lab), ["scripts/b.ipxe", "stable"]);
    let stable = lab.json(&["artifact", "show", "stable"]);
    assert_eq!(
        (&stable["alias"], &stable["sha256"]),
        (&"scripts/b.ipxe".into(), &sha256(&two).into())
    );
    let copy = lab.path("copy");
    let out = copy.to_str().expect("text");
    lab.bootgate(&["artifact", "save", "stable", "--out", out]);
    assert_eq!(sha256(&copy), sha256(&two));
    refused(lab, &["artifact", "save", "stable", "--out", out]);
    std::fs::remove_file(&copy).expect("remove the copy");
    for bad in ["../x", "/etc/x", "a//b", "sha256:00", "a b"] {
        refused(lab, &["artifact", "upload", &one, "--name", bad]);
    }
    // What nothing stands for goes, and not before its time.
    let gc = |more: &[&str]| lab.json(&[&["artifact", "gc"], more].concat());
    assert_eq!(gc(&[])["blobs"], Value::Array(Vec::new()));
    let would = gc(&["--dry-run", "--older-than", "0s"]);
    assert_eq!(would["blobs"][0]["sha256"], sha256(&one));
    assert_eq!(gc(&["--older-than", "0s"])["blobs"], would["blobs"]);
    assert_eq!(gc(&["--older-than", "0s"])["bytes"], 0);
    lab.bootgate(&["artifact", "delete", "stable"]);
    lab.bootgate(&["artifact", "delete", "scripts/b.ipxe"]);
    lab.bootgate(&["artifact", "gc", "--older-than", "0s"]);
}

fn images(lab: &Lab) {
    let mut bytes = vec![0; 3 << 20];
    bytes[1 << 20..][..4096].copy_from_slice(&noise(1, 4096));
    let raw = file(lab, "disk.raw", &bytes);
    sh(&format!("zstd -q -f '{raw}' -o '{raw}.zst'"));
    let added = lab.json(&["image", "add", "small", &raw]);
    assert_eq!(added["written"]["image_sha256"], sha256(&raw));
    let again = lab.json(&["image", "add", "small", &format!("{raw}.zst")]);
    assert_eq!(again, added, "packed it is the same image");
    bytes[0] = 1;
    let other = file(lab, "other.raw", &bytes);
    let said = refused(lab, &["image", "add", "small", &other]);
    assert!(said.contains("--replace"), "{said}");
    lab.bootgate(&["image", "add", "other", &other, "--sector-size", "4096"]);
    let list = lab.list(&["image", "list"]);
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["sector_size"], 4096);
    for (name, bytes, told) in [
        ("odd", &b"no sector"[..], "multiple"),
        ("qcow2", b"QFI\xfb....", "qemu-img convert"),
    ] {
        let path = file(lab, name, bytes);
        let said = refused(lab, &["image", "add", name, &path]);
        assert!(said.contains(told), "{said}");
    }
    let arm = |image| {
        [
            "machine",
            "arm",
            "02:00:00:00:00:01",
            "--image",
            image,
            "--disk",
            "path=/dev/vda",
        ]
    };
    lab.bootgate(&arm("small"));
    let said = refused(lab, &["image", "remove", "small"]);
    assert!(said.contains("02:00:00:00:00:01"), "{said}");
    lab.bootgate(&["artifact", "gc", "--older-than", "0s"]);
    assert_eq!(lab.json(&["image", "show", "small"]), added);
    lab.bootgate(&["machine", "forget", "02:00:00:00:00:01"]);
    lab.bootgate(&["image", "remove", "small"]);
    refused(lab, &["image", "show", "small"]);
}

#[test]
fn artifacts_and_images_without_a_server() {
    require_commands!("zstd", "sha256sum");
    let lab = a_lab();
    everyday(&lab);
    images(&lab);
}

#[test]
fn artifacts_and_images_of_a_server_that_runs() {
    require_root!();
    require_commands!("ip", "curl", "zstd", "sha256sum");
    let ran = in_namespaces(|| {
        relay::cable();
        let mut lab = a_lab();
        lab.serve();
        everyday(&lab);
        images(&lab);
        given_out_at_once(&lab);
        no_way_out(&lab);
        lab.stop();
        lab.serve();
        let kept = names(&lab);
        assert!(kept.contains(&"live/vmlinuz".to_owned()), "{kept:?}");
        assert_eq!(get("live/vmlinuz"), "second");
    });
    assert!(ran);
}

/// What a boot client gets by HTTP.
fn get(name: &str) -> String {
    in_client(&format!(
        "curl -s --max-time 10 http://{SERVER}/artifacts/{name}"
    ))
}

fn given_out_at_once(lab: &Lab) {
    let first = file(lab, "first", b"first");
    let second = file(lab, "second", b"second");
    let up = |file: &str, name: &str| {
        lab.bootgate(&["artifact", "upload", file, "--name", name, "--replace"]);
    };
    assert!(get("live/vmlinuz").contains("no artifact"));
    up(&first, "live/vmlinuz");
    lab.bootgate(&["artifact", "alias", "stable", "live/vmlinuz"]);
    let digest = format!("sha256:{}", sha256(&first));
    for name in ["live/vmlinuz", "stable", &digest] {
        assert_eq!(get(name), "first", "{name}");
        let tftp = in_client(&format!("curl -s --max-time 10 tftp://{SERVER}/{name}"));
        assert_eq!(tftp, "first", "{name}");
    }
    let head = in_client(&format!(
        "curl -sI --max-time 10 http://{SERVER}/artifacts/stable"
    ));
    let tag = format!("etag: \"{}\"", sha256(&first));
    assert!(head.to_ascii_lowercase().contains(&tag), "{head}");
    let same = in_client(&format!(
        "curl -s -o /dev/null -w '%{{http_code}}' -H 'If-None-Match: \"{}\"' http://{SERVER}/artifacts/stable",
        sha256(&first)
    ));
    assert_eq!(same.trim(), "304");
    up(&second, "live/vmlinuz");
    assert_eq!(get("stable"), "second");
    assert_eq!(
        get(&digest),
        "first",
        "what was there is there until it is collected"
    );
    lab.bootgate(&["artifact", "gc", "--older-than", "0s"]);
    assert!(get(&digest).contains("no artifact"));
}

/// Names that lead out of what is given out, as clients may write them.
fn no_way_out(lab: &Lab) {
    let secret = std::fs::read(lab.path("state/bootgate.db")).expect("the database");
    assert!(secret.starts_with(b"SQLite format 3"));
    for path in [
        "../bootgate.db",
        "../../bootgate.db",
        "..%2fbootgate.db",
        "%2e%2e/bootgate.db",
        "live/../../bootgate.db",
        "sha256:../../bootgate.db",
        "sha256:..%2f..%2fbootgate.db",
        "sha256:",
        "blobs/sha256",
        "uploads",
    ] {
        let line = format!(
            "curl -s --path-as-is --max-time 10 -o /dev/null -w '%{{http_code}}' 'http://{SERVER}/artifacts/{path}'"
        );
        let code = in_client(&line);
        assert!(["404", "400"].contains(&code.trim()), "{path}: {code}");
    }
}

#[test]
fn a_large_upload_goes_on_over_a_restart_and_takes_little_memory() {
    require_root!();
    require_commands!("ip", "curl", "sha256sum");
    let ran = in_namespaces(|| {
        relay::cable();
        let mut lab = a_lab();
        lab.serve();
        // A file whose bytes are cheap to make.
        let path = lab.path("large");
        let mut large = std::fs::File::create(&path).expect("a file");
        for number in 0..384 {
            large.write_all(&noise(number, 1 << 20)).expect("write");
        }
        let upload = Command::new(BOOTGATE)
            .args(["artifact", "upload", path.to_str().expect("text")])
            .env("BOOTGATE_STATE", lab.path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("an operator");
        let mut killed = 0;
        for at in [64 << 20, 192 << 20] {
            let come = |lab: &mut Lab| {
                let uploads = std::fs::read_dir(lab.path("state/uploads")).ok()?;
                let sizes = uploads.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
                sizes.max().filter(|size| *size > at)
            };
            lab.until("some of it has come", come);
            let memory = peak(lab.pid());
            assert!(memory < MEMORY, "{memory} KiB");
            lab.kill();
            killed += 1;
            lab.serve();
        }
        let output = upload.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", told(&output));
        let memory = peak(lab.pid());
        println!("the server had {memory} KiB at most");
        assert!(memory < MEMORY, "{memory} KiB");
        assert_eq!(killed, 2);
        let artifact = lab.json(&["artifact", "show", "large"]);
        assert_eq!(artifact["sha256"], sha256(&path));
        let save = lab.path("saved");
        lab.bootgate(&[
            "artifact",
            "save",
            "large",
            "--out",
            save.to_str().expect("text"),
        ]);
        assert_eq!(sha256(&save), sha256(&path));
    });
    assert!(ran);
}

/// Most memory that a process had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("its memory")
}
