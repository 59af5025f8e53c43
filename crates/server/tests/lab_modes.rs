//! Machines of a lab in every mode, by every loader.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::collections::BTreeMap;

use bootgate_api::{BootMode, Inventory, LocalBoot, paths};
use bootgate_events::{Cause, EventKind, MacAddr, Stage, Verdict};
use bootgate_netboot::dhcp::DhcpMode;
use bootgate_server::lab::{AskingAs, LabServer, LocalBootDefault};
use bootgate_store::{MachineChange, Store};
use bootgate_testkit::require_commands;
use laboratory::{Laboratory, MAC, OTHER, firmware_options, ipxe_options, nonce_in, order};

fn mode(boot: BootMode) -> MachineChange {
    MachineChange {
        boot: Some(boot),
        ..MachineChange::default()
    }
}

fn install() -> BootMode {
    BootMode::Install {
        installer: "trixie".to_owned(),
    }
}

/// As [`mode`], for a machine with a name and a label.
fn named(boot: BootMode) -> MachineChange {
    MachineChange {
        name: Some(Some("node7".to_owned())),
        labels: BTreeMap::from([("rack".to_owned(), Some("r1".to_owned()))]),
        ..mode(boot)
    }
}

#[tokio::test]
async fn a_stranger_becomes_known_and_boots_its_disk() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.power_on(MAC);
    let found = lab.wait("discovery", |kind| match kind {
        EventKind::MachineDiscovered { mac, mode } => Some((*mac, mode.clone())),
        _ => None,
    });
    assert_eq!(found.await, (MAC, "local".to_owned()));
    let script = lab.script(MAC).await;
    assert!(script.contains("exit 1"), "{script}");
    let how = lab.wait("local boot", |kind| match kind {
        EventKind::LocalBootServed { how, .. } => Some(how.clone()),
        _ => None,
    });
    assert_eq!(how.await, "exit");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let machine = lab.machine(MAC);
    assert_eq!((machine.discovered, machine.architecture), (true, Some(7)));
}

#[tokio::test]
async fn plain_dhcp_clients_are_no_machines() {
    let mut lab = Laboratory::new().await;
    lab.dhcp(OTHER, 1, &[]);
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    assert_eq!(lab.store.machine(&OTHER).unwrap(), None);
    assert_eq!(lab.attempts().len(), 1);
}

#[tokio::test]
async fn discovery_is_limited_and_can_be_off() {
    require_commands!("curl");
    let mut lab = Laboratory::with(|config| config.discovery.limit = 1).await;
    lab.power_on(MAC);
    lab.wait_for("machine-discovered").await;
    lab.power_on(OTHER);
    let script = lab.script(OTHER).await;
    assert!(
        script.contains("exit 1") && !script.contains("nonce"),
        "{script}"
    );
    assert_eq!(lab.store.machines().unwrap().len(), 1);
    let dropped = lab.lab.status().unwrap().dropped;
    let why = ("discovery".to_owned(), "limit-reached".to_owned());
    assert!(dropped.get(&why) >= Some(&1), "{dropped:?}");

    let lab = Laboratory::with(|config| config.discovery.mode = None).await;
    let script = lab.script(MAC).await;
    assert!(script.contains("exit 1"), "{script}");
    assert_eq!(lab.store.machines().unwrap(), []);
    assert_eq!(lab.attempts(), []);
}

#[tokio::test]
async fn discovery_has_a_rate() {
    let mut lab = Laboratory::with(|config| {
        config.discovery.per_second = 1;
        config.dhcp_limits.stranger_offers = 100;
    })
    .await;
    for last in 0..200 {
        lab.power_on(MacAddr([2, 0, 0, 0, 0, last]));
    }
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    let known = lab.wait("the known machine's attempt", |kind| {
        matches!(kind, EventKind::AttemptOpened { mac, .. } if *mac == MAC).then_some(())
    });
    known.await;
    let discovered = lab.store.machines().unwrap().len() - 1;
    assert!(
        (1..20).contains(&discovered),
        "{discovered} in less than 20 seconds"
    );
}

#[tokio::test]
async fn no_machine_is_discovered_into_a_mode_that_writes_disks() {
    for boot in [BootMode::FlashAlways(order()), install()] {
        let error = refused_discovery(|config| config.discovery.mode = Some(boot)).await;
        assert!(error.contains("which writes their disks"), "{error}");
    }
}

#[tokio::test]
async fn no_machine_is_discovered_into_a_mode_that_is_not_there() {
    let error = refused_discovery(|config| {
        config.live = None;
        config.discovery.mode = Some(BootMode::Inventory);
    });
    let error = error.await;
    assert!(error.contains("without a live environment"), "{error}");
    let script = "gone".to_owned();
    let boot = BootMode::Script { script };
    let error = refused_discovery(|config| config.discovery.mode = Some(boot)).await;
    assert!(error.contains("script `gone`"), "{error}");
}

/// Why a server does not start.
async fn refused_discovery(change: impl FnOnce(&mut bootgate_server::lab::LabConfig)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = laboratory::config(folder.path());
    change(&mut config);
    let store = bootgate_store::sqlite::Sqlite::open(&folder.path().join("s")).unwrap();
    let sockets = vec![std::sync::Arc::new(common::Loopback) as _];
    let started = LabServer::start(config, std::sync::Arc::new(store), sockets).await;
    started.err().expect("it does not start").to_string()
}

#[tokio::test]
async fn a_local_machine_is_told_no_bootfile_where_that_is_asked_for() {
    let mut lab = Laboratory::with(|config| config.local_boot = LocalBootDefault::Silent).await;
    lab.power_on(MAC);
    let how = lab.wait("local boot", |kind| match kind {
        EventKind::LocalBootServed { how, .. } => Some(how.clone()),
        _ => None,
    });
    assert_eq!(how.await, "no bootfile");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    lab.dhcp_again(MAC, 1, &firmware_options());
    lab.power_on(MAC);
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert_eq!(
        lab.attempts().len(),
        2,
        "what is said again is no other boot"
    );
}

#[tokio::test]
async fn a_half_written_disk_gets_no_silent_local_boot() {
    require_commands!("curl");
    let mut lab = Laboratory::with(|config| config.local_boot = LocalBootDefault::Silent).await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    let nonce = lab.nonce(MAC).await;
    lab.begin_flash(&nonce).await;
    // The mode of a machine with such a disk is changed by script or inventory, and what comes back is not `local`.
    lab.set(MAC, mode(BootMode::Inventory));
    let asking = AskingAs::default();
    let explained = lab.lab.explain(&MAC, &asking).unwrap();
    assert!(explained.outcome.contains("snponly.efi"), "{explained:#?}");
    let forced = MachineChange {
        force: true,
        ..mode(BootMode::Local)
    };
    lab.set(MAC, forced);
    let explained = lab.lab.explain(&MAC, &asking).unwrap();
    assert!(!explained.outcome.contains("snponly.efi"), "{explained:#?}");
}

#[tokio::test]
async fn the_disk_to_boot_can_be_chosen() {
    require_commands!("curl");
    let lab = Laboratory::new().await;
    let local = |local| MachineChange {
        local: Some(local),
        ..mode(BootMode::Local)
    };
    lab.set(MAC, local(LocalBoot::Drive(0x81)));
    let script = lab.script(MAC).await;
    assert!(script.contains("--drive 0x81"), "{script}");
    lab.set(MAC, local(LocalBoot::Exit));
    let script = lab.script(MAC).await;
    assert!(!script.contains("sanboot"), "{script}");
}

#[tokio::test]
async fn an_inventory_is_kept_and_the_mode_before_comes_back() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.set(MAC, mode(BootMode::Inventory));
    lab.power_on(MAC);
    let nonce = lab.nonce(MAC).await;
    let (_, plan) = lab.call(&paths::plan(&nonce), &[]).await;
    assert!(plan.contains("inventory"), "{plan}");
    let inventory = Inventory {
        cpu: "Processor".to_owned(),
        cpus: 4,
        ..Inventory::default()
    };
    let (status, _) = lab.post(&paths::inventory(&nonce), &inventory).await;
    assert_eq!(status, "200");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let machine = lab.machine(MAC);
    assert_eq!(machine.inventory, Some(inventory.clone()));
    assert!(matches!(machine.boot, BootMode::FlashOnce(_)));
    let (status, _) = lab.post(&paths::inventory(&nonce), &inventory).await;
    assert_eq!(status, "409", "the attempt is over");
}

#[tokio::test]
async fn an_installer_gets_its_answers_and_reports() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.set(MAC, named(install()));
    lab.power_on(MAC);
    let script = lab.script(MAC).await;
    for part in [
        "/artifacts/installers/trixie/kernel",
        "hostname=node7",
        "auto=true",
    ] {
        assert!(script.contains(part), "`{part}` in {script}");
    }
    let (_, rest) = script
        .split_once("/api/v1/attempts/")
        .expect("the answer's URL");
    let nonce = bootgate_events::AttemptId::new(&rest[..32]);
    let (status, answer) = lab.call(&paths::answer(&nonce), &[]).await;
    assert_eq!(status, "200", "{answer}");
    let done = lab.url(&paths::installed(&nonce));
    let expected = format!("host node7 {MAC} 127.0.0.1 r1\ndone {done}\n");
    assert_eq!(answer, expected);

    let failed = format!("{}?failed=no+disk", paths::installed(&nonce));
    assert_eq!(lab.call(&failed, &[]).await.0, "200");
    let verdict = lab.verdict().await;
    assert!(
        matches!(&verdict, Verdict::Failed { cause: Cause::InstallFailed { error }, .. } if error == "no disk"),
        "{verdict:?}"
    );
    assert_eq!(
        lab.machine(MAC).boot,
        install(),
        "it is still to be installed"
    );

    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let script = lab.script(MAC).await;
    let (_, rest) = script.split_once("/api/v1/attempts/").unwrap();
    let nonce = bootgate_events::AttemptId::new(&rest[..32]);
    assert_eq!(lab.call(&paths::installed(&nonce), &[]).await.0, "200");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert_eq!(lab.machine(MAC).boot, BootMode::Local);
}

#[tokio::test]
async fn an_installer_that_never_calls_back_is_not_started_for_ever() {
    require_commands!("curl");
    let mut lab = Laboratory::with(|config| config.flash_tries = 2).await;
    lab.set(MAC, named(install()));
    for _ in 0..2 {
        lab.power_on(MAC);
        lab.wait_for("attempt-opened").await;
        let script = lab.script(MAC).await;
        assert!(script.contains("/installers/trixie/kernel"), "{script}");
        lab.wait_for("script-served").await;
    }
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let script = lab.script(MAC).await;
    assert!(
        !script.contains("/installers/") && script.contains("installed_url"),
        "{script}"
    );
    assert_eq!(lab.machine(MAC).failed_flashes, 2);
    assert_eq!(lab.machine(MAC).boot, install());
    // Somebody orders it anew.
    lab.set(MAC, mode(install()));
    assert!(lab.script(MAC).await.contains("/installers/trixie/kernel"));
}

/// The order is stored a moment before the server has it in memory.
#[tokio::test]
async fn an_order_that_was_given_while_an_installer_ran_is_kept() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.set(MAC, named(install()));
    lab.power_on(MAC);
    let script = lab.script(MAC).await;
    let (_, rest) = script.split_once("/api/v1/attempts/").unwrap();
    let nonce = bootgate_events::AttemptId::new(&rest[..32]);
    let ordered = BootMode::FlashOnce(order());
    let change = mode(ordered.clone());
    lab.store
        .set_machine(&MAC, &change, bootgate_server::lab::now())
        .unwrap();
    assert_eq!(lab.call(&paths::installed(&nonce), &[]).await.0, "200");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert_eq!(lab.machine(MAC).boot, ordered);
}

#[tokio::test]
async fn an_operators_script_knows_the_machine() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    let script = "menu".to_owned();
    lab.set(MAC, named(BootMode::Script { script }));
    lab.dhcp(MAC, 1, &ipxe_options());
    let text = lab.script(MAC).await;
    let nonce = nonce_in(&text.replace("n=", "nonce="));
    let url = lab.url("");
    assert_eq!(
        text,
        format!("#!ipxe\necho node7 in r1\nchain {url}/x?n={nonce}\n")
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

#[tokio::test]
async fn a_mode_without_what_it_needs_is_refused_when_it_is_set() {
    let lab = Laboratory::with(|config| config.live = None).await;
    let unknown = [
        BootMode::Inventory,
        BootMode::FlashOnce(order()),
        BootMode::Install {
            installer: "x".to_owned(),
        },
        BootMode::Script {
            script: "x".to_owned(),
        },
    ];
    for boot in unknown {
        assert!(lab.lab.set_machine(&MAC, &mode(boot)).is_err());
    }
}

#[tokio::test]
async fn an_image_that_is_gone_is_said_on_the_machine() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.config.images.clear();
    let mut lab = lab.restart().await;
    lab.power_on(MAC);
    let script = lab.script(MAC).await;
    assert!(script.contains("no image `debian`"), "{script}");
    assert!(matches!(
        lab.verdict().await,
        Verdict::Failed {
            cause: Cause::BootRefused { .. },
            ..
        }
    ));
}

#[tokio::test]
async fn only_the_machine_with_the_lease_gets_its_script() {
    require_commands!("curl");
    let mut lab = Laboratory::with(|config| config.authoritative = true).await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    let (status, body) = lab.call(&paths::script(&MAC), &[]).await;
    assert_eq!(status, "403", "{body}");
    lab.power_on(MAC);
    lab.wait_for("dhcp-received").await;
    let mut request = firmware_options();
    request.extend([50, 4, 127, 0, 0, 50, 54, 4, 127, 0, 0, 1]);
    lab.dhcp(MAC, 3, &request);
    lab.wait_for("dhcp-received").await;
    let from = [
        "--interface",
        "127.0.0.50",
        "--retry",
        "5",
        "--retry-all-errors",
        "-f",
    ];
    let (status, _) = lab.call(&paths::script(&MAC), &from).await;
    assert_eq!(status, "200");
}

#[tokio::test]
async fn an_attempt_that_goes_nowhere_ends() {
    let mut lab = Laboratory::with(|config| {
        let short = std::time::Duration::from_millis(200);
        config.deadlines.stages.insert(Stage::Dhcp, short);
    })
    .await;
    lab.power_on(MAC);
    let verdict = lab.verdict().await;
    assert!(
        matches!(
            &verdict,
            Verdict::Failed {
                stage: Stage::Dhcp,
                cause: Cause::DeadlineExpired { .. },
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn without_dhcp_of_ours_the_script_begins_attempts() {
    require_commands!("curl");
    let mut lab = Laboratory::with(|config| config.interfaces[0].dhcp = DhcpMode::Off).await;
    assert_eq!(lab.server.addresses()[0].dhcp, None);
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    for _ in 0..2 {
        lab.nonce(MAC).await;
        lab.wait_for("attempt-opened").await;
        assert_eq!(
            lab.call("/artifacts/bootgate-live/kernel", &[]).await.0,
            "200"
        );
        lab.wait("kernel", |kind| {
            matches!(
                kind,
                EventKind::StageEntered {
                    stage: Stage::Kernel,
                    ..
                }
            )
            .then_some(())
        })
        .await;
    }
    assert_eq!(lab.attempts().len(), 2);
}

#[tokio::test]
async fn what_is_explained_is_what_is_done() {
    let lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    let explain = |class: &str| {
        let asking = AskingAs {
            relay: None,
            architecture: Some(7),
            class: Some(class.to_owned()),
            interface: None,
            over_ipv6: false,
        };
        lab.lab.explain(&MAC, &asking).unwrap()
    };
    let firmware = explain("PXEClient");
    assert!(firmware.outcome.contains("snponly.efi"), "{firmware:#?}");
    assert!(
        firmware
            .steps
            .iter()
            .any(|step| step.found.contains("flashes image `debian`"))
    );
    let ipxe = explain("iPXE");
    assert!(ipxe.outcome.contains(&paths::script(&MAC)), "{ipxe:#?}");
    let six = AskingAs {
        over_ipv6: true,
        ..AskingAs::default()
    };
    let six = lab.lab.explain(&MAC, &six).unwrap();
    assert!(six.outcome.contains("over IPv6"), "{six:#?}");
    assert_eq!(lab.attempts(), [], "nothing was begun");
}
