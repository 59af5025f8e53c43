//! Files of artifacts: what outlives a restart, a full disk, and collections beside uploads.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use bootgate_api::UnixMicros;
use bootgate_api::artifact::{UploadInfo, UploadOrder};
use bootgate_store::conformance::artifacts::{digest, upload};
use bootgate_store::conformance::mac;
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{ArtifactStore, MachineChange, Store, StoreError, UploadLimits};
use bootgate_testkit::{in_namespaces, require_commands, skip};

const NOW: UnixMicros = UnixMicros(1_000_000);

fn open(state: &Path) -> Sqlite {
    let store = Sqlite::open(state).unwrap();
    store.set_upload_limits(UploadLimits {
        keep_free: 0,
        ..UploadLimits::default()
    });
    store
}

fn named(name: &str, size: Option<u64>) -> UploadOrder {
    UploadOrder {
        name: Some(name.to_owned()),
        size,
        ..UploadOrder::default()
    }
}

fn send(store: &Sqlite, upload: &UploadInfo, bytes: &[u8]) -> Result<u64, StoreError> {
    let mut part = store.append_upload(&upload.id, upload.offset)?;
    part.write(bytes)?;
    part.commit(NOW)
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn an_upload_goes_on_after_a_restart_with_what_was_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let begun = store.begin_upload(&named("a", None), NOW).unwrap();
    send(&store, &begun, b"durable ").unwrap();
    drop(store);
    // What a process wrote and did not live to sync.
    let path = folder.path().join("uploads").join(&begun.id);
    fs::write(&path, b"durable and more").unwrap();
    // And a file whose row it did not live to write.
    fs::write(folder.path().join("uploads/stray"), b"x").unwrap();
    let store = open(folder.path());
    assert!(!folder.path().join("uploads/stray").exists());
    let known = store.upload(&begun.id).unwrap();
    assert_eq!(known.offset, 8);
    send(&store, &known, b"bytes").unwrap();
    let done = store.finish_upload(&begun.id, None, NOW).unwrap();
    assert_eq!(done.blob.sha256, digest(b"durable bytes"));
    assert_eq!(files(&folder.path().join("uploads")), 0);
    drop(store);
    let store = open(folder.path());
    let path = store.blob_path(&digest(b"durable bytes"));
    assert_eq!(fs::read(path).unwrap(), b"durable bytes");
    // Finished is finished, also after a restart.
    let again = store.finish_upload(&begun.id, None, NOW).unwrap();
    assert_eq!(again, done);
}

#[test]
fn a_blobs_file_without_a_row_is_nothing_and_is_replaced_or_collected() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let path = store.blob_path(&digest(b"bytes"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"half").unwrap();
    assert_eq!(store.blobs().unwrap(), []);
    upload(&store, "a", b"bytes");
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
    let stray = store.blob_path(&digest(b"stray"));
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, b"half").unwrap();
    assert_eq!(store.collect_blobs(NOW, false).unwrap(), [], "it is young");
    let all = UnixMicros(u64::MAX);
    assert_eq!(store.collect_blobs(all, false).unwrap().len(), 1);
    assert!(!stray.exists() && path.exists());
    // A row whose file somebody removed gets it back.
    fs::remove_file(&path).unwrap();
    upload(&store, "b", b"bytes");
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
}

#[test]
fn collections_beside_uploads_take_nothing_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let store = &store;
        let collector = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                store.collect_blobs(UnixMicros(u64::MAX), false).unwrap();
                rounds += 1;
            }
            rounds
        });
        let uploaders: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    // Two by two they bring the same bytes.
                    for turn in 0..20 {
                        let name = format!("{number}/{turn}");
                        upload(store, &name, format!("{}/{turn}", number % 2).as_bytes());
                        if turn % 3 == 0 {
                            store.delete_artifact(&name, NOW).unwrap();
                        }
                    }
                })
            })
            .collect();
        for uploader in uploaders {
            uploader.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        assert!(collector.join().unwrap() > 1);
    });
    for number in 0..4 {
        for turn in 0..20 {
            let name = format!("{number}/{turn}");
            let artifact = store.artifact(&name).unwrap();
            assert_eq!(artifact.is_some(), turn % 3 != 0, "{name}");
            if let Some(artifact) = artifact {
                let bytes = fs::read(store.blob_path(&artifact.sha256)).unwrap();
                assert_eq!(bytes, format!("{}/{turn}", number % 2).as_bytes());
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_uploads_and_goes_on_when_there_is_room() {
    require_commands!("mount", "unshare");
    if !in_namespaces(fill_a_disk) {
        skip!("needs root");
    }
}

fn full<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    match outcome {
        Err(error @ StoreError::Full { .. }) => {
            assert!(error.to_string().contains("no space left"), "{error}");
        }
        other => panic!("the disk was not full: {other:?}"),
    }
}

fn fill_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "none"])
        .arg(folder.path())
        .status()
        .expect("run mount");
    assert!(mounted.success());
    let state = folder.path().join("state");
    let store = open(&state);
    upload(&store, "small", b"small");
    // One whose size is known is refused before its first byte, and leaves nothing.
    full(store.begin_upload(&named("large", Some(16 << 20)), NOW));
    assert_eq!(files(&state.join("uploads")), 0);
    // One whose size is not known keeps what was durable, and gives the rest back.
    let begun = store.begin_upload(&named("large", None), NOW).unwrap();
    let offset = send(&store, &begun, &vec![1; 1 << 20]).unwrap();
    let known = store.upload(&begun.id).unwrap();
    full(send(&store, &known, &vec![2; 16 << 20]));
    assert_eq!(store.upload(&begun.id).unwrap().offset, offset);
    let path = state.join("uploads").join(&begun.id);
    assert_eq!(path.metadata().unwrap().len(), offset);
    // The service goes on meanwhile.
    let change = MachineChange::default();
    store
        .set_machine(&mac(1), &change, NOW)
        .expect("there is room for it");
    // What is kept free is not for uploads, and all else has it.
    store.set_upload_limits(UploadLimits {
        keep_free: 7 << 20,
        ..UploadLimits::default()
    });
    full(store.begin_upload(&named("other", None), NOW));
    full(send(&store, &known, b"more"));
    store.set_upload_limits(UploadLimits {
        keep_free: 0,
        ..UploadLimits::default()
    });
    // Not even a row fits: nothing half is left.
    let ballast = folder.path().join("ballast");
    let fill = || {
        let mut file = fs::File::create(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    };
    fill();
    full(store.finish_upload(&begun.id, None, NOW));
    assert_eq!(store.artifact("large").unwrap(), None);
    assert!(!store.blob_path(&digest(&vec![1; 1 << 20])).exists());
    fs::remove_file(&ballast).unwrap();
    let known = store.upload(&begun.id).unwrap();
    assert_eq!(known.offset, offset);
    send(&store, &known, b"the rest").unwrap();
    let done = store.finish_upload(&begun.id, None, NOW).unwrap();
    let bytes = [vec![1; 1 << 20], b"the rest".to_vec()].concat();
    assert_eq!(done.blob.sha256, digest(&bytes));
    drop(store);
    let store = open(&state);
    let bytes_of = |name| store.artifact(name).unwrap().unwrap().size;
    assert_eq!(
        (bytes_of("small"), bytes_of("large")),
        (5, bytes.len() as u64)
    );
    drop(store);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.expect("run umount").success());
}
