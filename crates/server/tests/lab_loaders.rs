//! What loaders other than iPXE get, over TFTP and HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use bootgate_api::{BootMode, DiskState, LocalBoot, paths};
use bootgate_events::{ArtifactRole, Cause, EventKind, Verdict};
use bootgate_store::{MachineChange, Store};
use bootgate_testkit::require_commands;
use common::{curl_text, run};
use laboratory::{Laboratory, MAC, completion, firmware_options, nonce_in, order};

const PXELINUX: &str = "pxelinux.cfg/01-52-54-00-00-00-07";
const GRUB: &str = "grub/grub.cfg-01-52-54-00-00-00-07";

async fn tftp(lab: &Laboratory, name: &str) -> String {
    curl_text(&[&format!("tftp://{}/{name}", lab.tftp())]).await
}

/// The exit status of curl: 68 is TFTP's "file not found", 69 its "access violation".
async fn tftp_status(lab: &Laboratory, name: &str) -> Option<i32> {
    let url = format!("tftp://{}/{name}", lab.tftp());
    run("curl", &["-sS", "--max-time", "50", &url])
        .await
        .status
        .code()
}

/// The text without its nonce and its port.
fn steady(lab: &Laboratory, text: &str) -> String {
    let text = text.replace(&lab.http().to_string(), "SERVER");
    match text.contains("nonce=") {
        true => text.replace(nonce_in(&text).as_str(), "NONCE"),
        false => text,
    }
}

fn uboot_options() -> Vec<u8> {
    let mut options = vec![60, 12];
    options.extend(b"U-Boot.armv8");
    options.extend([93, 2, 0, 22]);
    options
}

async fn flash() -> Laboratory {
    let lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab
}

/// A lab whose machine may not be booted: too many flashes failed.
async fn refused() -> Laboratory {
    let mut lab = flash().await;
    for _ in 0..3 {
        lab.power_on(MAC);
        lab.wait_for("attempt-opened").await;
        lab.nonce(MAC).await;
    }
    restart(&mut lab).await;
    lab
}

/// The machine is switched off and on.
async fn restart(lab: &mut Laboratory) {
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
}

fn boots(lab: &Laboratory, boot: BootMode, local: LocalBoot) {
    let change = MachineChange {
        boot: Some(boot),
        local: Some(local),
        ..MachineChange::default()
    };
    lab.lab.set_machine(&MAC, &change).unwrap();
}

fn install() -> BootMode {
    BootMode::Install {
        installer: "trixie".to_owned(),
    }
}

#[tokio::test]
async fn pxelinux_boots_by_its_own_configuration() {
    require_commands!("curl");
    let mut lab = flash().await;
    insta::assert_snapshot!("pxelinux-flash", steady(&lab, &tftp(&lab, PXELINUX).await));
    boots(&lab, BootMode::Local, LocalBoot::Auto);
    restart(&mut lab).await;
    insta::assert_snapshot!("pxelinux-local", tftp(&lab, PXELINUX).await);
    boots(&lab, BootMode::Local, LocalBoot::Exit);
    restart(&mut lab).await;
    let text = tftp(&lab, PXELINUX).await;
    assert!(text.contains("LOCALBOOT -1"), "{text}");
    let lab = refused().await;
    insta::assert_snapshot!("pxelinux-refused", tftp(&lab, PXELINUX).await);
}

#[tokio::test]
async fn grub_boots_by_its_own_configuration() {
    require_commands!("curl");
    let mut lab = flash().await;
    insta::assert_snapshot!("grub-flash", steady(&lab, &tftp(&lab, GRUB).await));
    let url = lab.url("/artifacts/boot/grub/grub.cfg-01-52:54:00:00:00:07");
    insta::assert_snapshot!("grub-flash-http", steady(&lab, &curl_text(&[&url]).await));
    boots(&lab, BootMode::Local, LocalBoot::Auto);
    restart(&mut lab).await;
    insta::assert_snapshot!("grub-local", tftp(&lab, GRUB).await);
    insta::assert_snapshot!("grub-search", tftp(&lab, "grub/grub.cfg").await);
    let lab = refused().await;
    insta::assert_snapshot!("grub-refused", tftp(&lab, GRUB).await);
}

#[tokio::test]
async fn uboot_boots_by_its_own_configuration() {
    require_commands!("curl");
    let mut lab = flash().await;
    lab.dhcp(MAC, 1, &uboot_options());
    lab.wait_for("attempt-opened").await;
    insta::assert_snapshot!("uboot-flash", steady(&lab, &tftp(&lab, PXELINUX).await));
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    let mut lab = Laboratory::new().await;
    lab.dhcp(MAC, 1, &uboot_options());
    lab.wait_for("attempt-opened").await;
    insta::assert_snapshot!("uboot-local", tftp(&lab, PXELINUX).await);
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

#[tokio::test]
async fn an_installer_starts_from_any_loader() {
    require_commands!("curl");
    let lab = flash().await;
    boots(&lab, install(), LocalBoot::Auto);
    let steady = |text: String| {
        let text = text.replace(&lab.http().to_string(), "SERVER");
        let (before, rest) = text.split_once("/attempts/").expect("the answer's URL");
        format!("{before}/attempts/NONCE{}", &rest[32..])
    };
    insta::assert_snapshot!("pxelinux-install", steady(tftp(&lab, PXELINUX).await));
    insta::assert_snapshot!("grub-install", steady(tftp(&lab, GRUB).await));
}

#[tokio::test]
async fn what_a_configuration_names_is_there() {
    require_commands!("curl");
    let lab = flash().await;
    let text = tftp(&lab, PXELINUX).await;
    let named = text
        .split_whitespace()
        .filter_map(|word| word.split_once("::"));
    let names: Vec<_> = named.map(|(_, name)| name).collect();
    assert_eq!(names, ["bootgate-live/kernel", "bootgate-live/initrd0"]);
    assert_eq!(tftp(&lab, names[0]).await, "kernel");
    assert_eq!(tftp(&lab, &format!("/{}", names[1])).await, "initrd");
}

#[tokio::test]
async fn a_nonce_over_tftp_is_as_good_as_one_over_http() {
    require_commands!("curl");
    let mut lab = flash().await;
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let nonce = nonce_in(&tftp(&lab, PXELINUX).await);
    lab.wait_for("script-served").await;
    lab.begin_flash(&nonce).await;
    assert!(matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }));
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

#[tokio::test]
async fn names_that_loaders_only_try_are_no_failure() {
    require_commands!("curl");
    let mut lab = flash().await;
    lab.dhcp(MAC, 1, &firmware_options());
    lab.wait_for("attempt-opened").await;
    // From now on it is known whose address this is.
    tftp(&lab, PXELINUX).await;
    let tried = [
        "pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d",
        "pxelinux.cfg/7F000001",
        "pxelinux.cfg/default",
        "grub/grub.cfg-7F000001",
    ];
    for name in tried {
        assert_eq!(tftp_status(&lab, name).await, Some(68), "{name}");
        let (status, _) = lab.call(&format!("/artifacts/{name}"), &[]).await;
        assert_eq!(status, "404");
    }
    assert_eq!(tftp_status(&lab, "no-such-file").await, Some(68));
    tftp(&lab, PXELINUX).await;
    lab.wait_for("script-served").await;
    lab.wait_for("script-served").await;
    let attempt = lab.attempts().remove(0);
    let events = lab.store.events(&attempt.id, 0, 1000).unwrap();
    let kinds = events.iter().filter_map(|event| event.kind());
    let refused: Vec<_> = kinds
        .filter(|kind| kind.name() == "request-refused")
        .collect();
    assert!(
        matches!(refused[..], [EventKind::RequestRefused { role: ArtifactRole::Other, path, .. }] if path == "no-such-file"),
        "{refused:#?}"
    );
    assert_eq!(attempt.verdict, None);
}

#[tokio::test]
async fn an_operators_own_configuration_goes_first() {
    require_commands!("curl");
    let lab = Laboratory::with(|config| {
        let folder = config.live.as_ref().unwrap().kernel.with_file_name("tftp");
        std::fs::create_dir_all(folder.join("grub")).unwrap();
        std::fs::write(folder.join("grub/grub.cfg"), "own").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("out")).unwrap();
        config.artifacts.push((String::new(), folder));
    })
    .await;
    assert_eq!(tftp(&lab, "grub/grub.cfg").await, "own");
    assert_eq!(
        tftp_status(&lab, "out").await,
        Some(68),
        "it leads out of the folder"
    );
}

#[tokio::test]
async fn a_file_that_is_put_into_a_folder_later_is_given_out() {
    require_commands!("curl");
    let mut folder = None;
    let lab = Laboratory::with(|config| {
        let path = config.live.as_ref().unwrap().kernel.with_file_name("tftp");
        std::fs::create_dir_all(&path).unwrap();
        config.artifacts.push(("boot/".to_owned(), path.clone()));
        folder = Some(path);
    })
    .await;
    let folder = folder.unwrap();
    assert_eq!(tftp_status(&lab, "boot/new/later.bin").await, Some(68));
    std::fs::create_dir(folder.join("new")).unwrap();
    std::fs::write(folder.join("new/later.bin"), "later").unwrap();
    assert_eq!(tftp(&lab, "boot/new/later.bin").await, "later");
    assert_eq!(
        lab.call("/artifacts/boot/new/later.bin", &[]).await.1,
        "later"
    );
    assert_eq!(lab.call("/artifacts/new/later.bin", &[]).await.0, "404");
    std::fs::remove_file(folder.join("new/later.bin")).unwrap();
    assert_eq!(tftp_status(&lab, "boot/new/later.bin").await, Some(68));
}

#[tokio::test]
async fn an_ipxe_script_is_for_ipxe() {
    require_commands!("curl");
    let mut lab = flash().await;
    let script = "menu".to_owned();
    boots(&lab, BootMode::Script { script }, LocalBoot::Auto);
    let text = tftp(&lab, PXELINUX).await;
    assert!(
        text.contains("may not boot: its script is for iPXE"),
        "{text}"
    );
    let verdict = lab.verdict().await;
    assert!(
        matches!(
            &verdict,
            Verdict::Failed {
                cause: Cause::BootRefused { .. },
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn strangers_get_no_configuration_where_discovery_is_off() {
    require_commands!("curl");
    let lab = Laboratory::with(|config| config.discovery.mode = None).await;
    assert_eq!(tftp_status(&lab, PXELINUX).await, Some(68));
    assert_eq!(lab.store.machines().unwrap(), []);
}
