//! Choosing and measuring the accelerator, with the QEMU of this host.

mod common;

use std::path::PathBuf;

use bootgate_target::DirectLauncher;
use bootgate_target::accel::{Accel, AccelChoice, AccelError, calibrate, calibrate_in, decide};
use bootgate_target::discovery::QemuBinary;

#[tokio::test]
async fn the_decision_names_its_reason_and_forcing_kvm_needs_the_same_proof() {
    let Some(qemu) = common::qemu().await else {
        return;
    };
    let auto = decide(AccelChoice::Auto, &qemu, &DirectLauncher)
        .await
        .unwrap();
    assert!(!auto.reason.is_empty());
    let forced = decide(AccelChoice::Kvm, &qemu, &DirectLauncher).await;
    match auto.accel {
        Accel::Kvm => assert_eq!(forced.unwrap().accel, Accel::Kvm),
        Accel::Tcg => assert!(
            matches!(forced, Err(AccelError::KvmUnusable { reason }) if reason == auto.reason)
        ),
    }
    let tcg = decide(AccelChoice::Tcg, &qemu, &DirectLauncher)
        .await
        .unwrap();
    assert_eq!(tcg.accel, Accel::Tcg);
}

#[tokio::test]
async fn a_probe_that_cannot_start_names_the_program() {
    let absent = QemuBinary {
        path: PathBuf::from("/nonexistent/qemu-system-x86_64"),
        version: "0".to_owned(),
    };
    let error = calibrate(Accel::Tcg, &absent, &DirectLauncher, 1, 1)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nonexistent/qemu-system-x86_64"),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_qemu_fails_the_probe() {
    let wrong = QemuBinary {
        path: PathBuf::from("/bin/true"),
        version: "0".to_owned(),
    };
    let error = calibrate(Accel::Tcg, &wrong, &DirectLauncher, 1, 1)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ended early"), "{error}");
}

#[tokio::test]
async fn a_cold_calibration_is_short_and_a_second_one_is_read_from_the_cache() {
    let Some(qemu) = common::qemu().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootgate/calibration.json");
    let measure =
        |clients| calibrate_in(Some(&file), Accel::Tcg, &qemu, &DirectLauncher, clients, 2);
    let cold = measure(1).await.unwrap();
    eprintln!("cold calibration: {cold:?}");
    assert!(!cold.cached && cold.loop_us > 0 && cold.scale_milli >= 1000);
    // A host that is slower than the reference has its deadlines stretched in the same proportion, and four
    // clients on two cores have twice the time of two.
    let warm = measure(1).await.unwrap();
    assert_eq!(
        (warm.cached, warm.loop_us, warm.scale_milli),
        (true, cold.loop_us, cold.scale_milli)
    );
    assert_eq!(measure(2).await.unwrap().scale_milli, cold.scale_milli);
    assert_eq!(measure(4).await.unwrap().scale_milli, cold.scale_milli * 2);

    // A measurement of another QEMU does not count, and a damaged file is measured again.
    let newer = QemuBinary {
        version: "99.0".to_owned(),
        ..qemu.clone()
    };
    let other = calibrate_in(Some(&file), Accel::Tcg, &newer, &DirectLauncher, 1, 2)
        .await
        .unwrap();
    assert!(!other.cached);
    std::fs::write(&file, b"{ half a fi").unwrap();
    assert!(!measure(1).await.unwrap().cached);
    assert!(measure(1).await.unwrap().cached);
}
