//! Backups.

use bootgate_api::UnixMicros;

use super::{Make, mac, named_checks};
use crate::{LeaseGrant, MachineChange};

named_checks! {
    a_backup_is_a_new_file_and_nothing_else,
    a_backup_replaces_no_file,
    a_backup_that_cannot_be_written_leaves_nothing,
}

fn a_backup_is_a_new_file_and_nothing_else(make: Make<'_>) {
    let store = make();
    let folder = tempfile::tempdir().expect("a folder");
    let change = MachineChange::default();
    let known = store.set_machine(&mac(1), &change, UnixMicros(1));
    let path = folder.path().join("copy");
    store.backup(&path).expect("back up");
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("list").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let size = path.metadata().expect("the copy is there").len();
    assert!(size > 0);
    // The store goes on.
    let machine = store.machine(&mac(1)).expect("machine");
    assert_eq!(machine, Some(known.expect("set the machine")));
    let grant = LeaseGrant {
        ip: [10, 0, 0, 1].into(),
        mac: mac(1),
        subnet: "10.0.0.0/24".to_owned(),
        ends: UnixMicros(20),
        at: UnixMicros(10),
        client: None,
    };
    store.grant_leases(&[grant]).expect("grant");
    assert_eq!(path.metadata().expect("the copy is there").len(), size);
}

fn a_backup_replaces_no_file(make: Make<'_>) {
    let store = make();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy");
    std::fs::write(&path, "precious").expect("write");
    assert!(store.backup(&path).is_err());
    let text = std::fs::read_to_string(&path).expect("read");
    assert_eq!(text, "precious");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).expect("link");
    assert!(store.backup(&link).is_err());
    assert!(!folder.path().join("nowhere").exists());
    let files = std::fs::read_dir(folder.path()).expect("list").count();
    assert_eq!(files, 2);
}

fn a_backup_that_cannot_be_written_leaves_nothing(make: Make<'_>) {
    let store = make();
    let folder = tempfile::tempdir().expect("a folder");
    assert!(store.backup(&folder.path().join("no/copy")).is_err());
    assert!(store.backup(folder.path()).is_err());
    let files = std::fs::read_dir(folder.path()).expect("list").count();
    assert_eq!(files, 0);
}
