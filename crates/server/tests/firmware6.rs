//! UEFI firmware boots over IPv6 alone from these servers: by PXE (TFTP), and by HTTP Boot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/segment.rs"]
mod segment;
#[path = "common/segment6.rs"]
mod segment6;

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bootgate_api::BootPlan;
use bootgate_events::{ArtifactRole, AttemptId, EventKind, Protocol};
use bootgate_server::{
    Artifact, ArtifactName, BootServer, MachineBoot, MachineConfig, ScriptBoot, arch,
};
use bootgate_testkit::uefi::{
    NetworkBoot, OVMF_CODE as CODE, OVMF_VARS as VARS, write_boot_options,
};
use bootgate_testkit::{require_commands, skip};
use common::{Facts, MAC, run};
use segment::in_namespaces;
use tokio::io::AsyncReadExt;

/// Longest time to the boot program; it takes 15 s where nothing else runs.
const LIMIT: Duration = Duration::from_secs(80);
/// What the boot program says.
const MARKER: &str = "GRUB over IPv6";
/// The network card's place on the PCI bus.
const SLOT: u8 = 3;

/// The boot options of the way that is looked at.
fn variables(to: &Path, http: bool) {
    let order = match http {
        true => &[NetworkBoot::Pxe6, NetworkBoot::Http6][..],
        false => &[NetworkBoot::Pxe6],
    };
    write_boot_options(to, order, SLOT, MAC.0).unwrap();
}

/// A GRUB that says so, and stays.
async fn grub(folder: &Path) -> PathBuf {
    let (config, image) = (folder.join("grub.cfg"), folder.join("grub.efi"));
    std::fs::write(&config, format!("echo {MARKER}\nsleep 600\n")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (from, to) = (text(&config), text(&image));
    let arguments = [
        "-O",
        "x86_64-efi",
        "-p",
        "/",
        "-c",
        &from,
        "-o",
        &to,
        "echo",
        "sleep",
    ];
    let made = run("grub-mkimage", &arguments).await;
    assert!(made.status.success(), "{made:?}");
    image
}

/// The machine gets `grub.efi` by the way that is looked at; by PXE it gets what is no program where HTTP is.
fn arm(server: &BootServer, folder: &Path, http: bool) {
    std::fs::write(folder.join("none.efi"), common::noise(5000, 1)).unwrap();
    for name in ["grub.efi", "none.efi"] {
        let program = Artifact::new(folder.join(name), ArtifactRole::Nbp);
        let name = ArtifactName::new(name).unwrap();
        server.artifacts().insert(name, program);
    }
    let script = ScriptBoot {
        kernel: ArtifactName::new("grub.efi").unwrap(),
        initrds: Vec::new(),
        cmdline: String::new(),
        plan: BootPlan::Stay,
        expected_chunks: None,
        expected_size: None,
        custom_script: None,
    };
    let by_pxe = if http { "none.efi" } else { "grub.efi" };
    let programs = [(arch::UEFI_X64, by_pxe), (arch::HTTP_X64, "grub.efi")];
    let machine = MachineConfig {
        mac: MAC,
        boot: MachineBoot::Script(Box::new(script)),
        nbp: programs
            .map(|(code, name)| (code, name.to_owned()))
            .into_iter()
            .collect(),
        loader: None,
        faults: Vec::new(),
    };
    server.machines().arm(machine, AttemptId::new("firmware6"));
}

fn qemu(vars: &Path) -> tokio::process::Child {
    let mut qemu = tokio::process::Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-no-user-config", "-machine", "q35"])
        .args([
            "-accel",
            "tcg,tb-size=64",
            "-cpu",
            "max,la57=off",
            "-m",
            "256",
        ])
        .args([
            "-display",
            "none",
            "-chardev",
            "stdio,id=console,signal=off",
        ])
        .args(["-serial", "chardev:console"])
        .args([
            "-drive",
            &format!("if=pflash,format=raw,readonly=on,file={CODE}"),
        ])
        .args([
            "-drive",
            &format!("if=pflash,format=raw,file={}", vars.display()),
        ])
        .args(["-object", "rng-random,id=rng0,filename=/dev/urandom"])
        .args(["-device", "virtio-rng-pci,rng=rng0"])
        .args(["-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no"])
        .arg("-device")
        .arg(format!(
            "virtio-net-pci,netdev=net0,mac={MAC},romfile=,addr={SLOT}"
        ));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu.kill_on_drop(true).spawn().expect("run QEMU")
}

/// Waits until the firmware has fetched the whole boot program this way.
async fn fetched(facts: &Facts, by: Protocol, size: u64) {
    let started = RefCell::new(Vec::new());
    facts
        .wait("whole boot program", |fact| {
            match &fact.kind {
                EventKind::TransferStarted {
                    id,
                    protocol,
                    role: ArtifactRole::Nbp,
                    peer: IpAddr::V6(_),
                    ..
                } if *protocol == by && fact.mac == Some(MAC) => started.borrow_mut().push(*id),
                EventKind::TransferCompleted { id, bytes, .. } if *bytes == size => {
                    return started.borrow().contains(id).then_some(());
                }
                _ => {}
            }
            None
        })
        .await;
}

/// Reads the machine's console until the boot program has said that it runs; what was read.
async fn console(machine: &mut tokio::process::Child) -> String {
    let mut output = machine.stdout.take().expect("the console");
    let mut text = Vec::new();
    let said = async {
        let mut buffer = [0; 4096];
        loop {
            let read = output.read(&mut buffer).await.expect("read the console");
            text.extend(&buffer[..read]);
            let marker = MARKER.as_bytes();
            if read == 0 || text.windows(marker.len()).any(|part| part == marker) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LIMIT, said).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Boots the firmware until it runs the boot program.
async fn boot(http: bool) {
    let facts = Arc::<Facts>::default();
    segment6::ip("tuntap add tap0 mode tap").await;
    let server = segment6::serve("tap0", segment6::config(), facts.sink()).await;
    let folder = tempfile::tempdir().unwrap();
    let vars = folder.path().join("vars");
    variables(&vars, http);
    let image = grub(folder.path()).await;
    arm(&server, folder.path(), http);
    let mut machine = qemu(&vars);
    let console = console(&mut machine).await;
    assert!(console.contains(MARKER), "{console} {:#?}", facts.all());
    let (by, url) = match http {
        true => (Protocol::Http, "http://[fd00:77::1]/artifacts/grub.efi"),
        false => (Protocol::Tftp, "tftp://[fd00:77::1]/grub.efi"),
    };
    fetched(&facts, by, std::fs::metadata(&image).unwrap().len()).await;
    let mut named = facts.kinds().into_iter().filter_map(bootfile);
    assert!(named.any(|name| name == url));
    machine.kill().await.unwrap();
    server.stop().await;
}

fn bootfile(kind: EventKind) -> Option<String> {
    match kind {
        EventKind::DhcpSent { facts, .. } => facts.bootfile,
        _ => None,
    }
}

fn test(http: bool) {
    require_commands!("unshare", "ip", "qemu-system-x86_64", "grub-mkimage");
    for file in [CODE, VARS, "/usr/lib/grub/x86_64-efi/moddep.lst"] {
        if !Path::new(file).exists() {
            skip!("needs `{file}`");
        }
    }
    if !in_namespaces(|| boot(http)) {
        skip!("needs root for network namespaces");
    }
}

#[test]
fn ovmf_boots_by_pxe_over_ipv6_alone() {
    test(false);
}

#[test]
fn ovmf_boots_by_http_over_ipv6_alone() {
    test(true);
}
