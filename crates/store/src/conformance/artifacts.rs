//! Artifacts and images.

use std::collections::BTreeMap;

use bootgate_api::artifact::{
    AliasOrder, ArtifactWords, ImageOrder, NameOrder, UploadInfo, UploadOrder, Uploaded,
    name_of_digest,
};
use bootgate_api::{ExpectedFlash, Sha256Hex, UnixMicros};
use sha2::{Digest, Sha256};

use super::{Make, mac, named_checks, order, refused};
use crate::{ArtifactFilter, ArtifactStore, NewImage, Store, StoreError, UploadLimits};

named_checks! {
    a_name_is_replaced_only_where_that_is_said,
    bad_names_are_refused,
    aliases_are_followed_and_never_in_circles,
    what_is_needed_is_not_deleted,
    artifacts_are_listed_by_name_in_pages,
    only_blobs_that_nothing_stands_for_are_collected,
    images_are_of_blobs_and_stay_while_a_machine_needs_them,
}

pub(super) const NOW: UnixMicros = UnixMicros(1_000_000_000);

pub(super) fn depot(store: &dyn Store) -> &dyn ArtifactStore {
    let depot = store.artifacts().expect("the backend keeps artifacts");
    depot.set_upload_limits(UploadLimits {
        keep_free: 0,
        ..UploadLimits::default()
    });
    depot
}

/// The digest of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex(Sha256::digest(bytes).into())
}

pub(super) fn named(name: &str) -> UploadOrder {
    UploadOrder {
        name: Some(name.to_owned()),
        ..UploadOrder::default()
    }
}

pub(super) fn send(depot: &dyn ArtifactStore, upload: &UploadInfo, bytes: &[u8]) -> u64 {
    let mut part = depot
        .append_upload(&upload.id, upload.offset)
        .expect("go on");
    part.write(bytes).expect("write");
    part.commit(NOW).expect("commit")
}

fn try_upload(
    depot: &dyn ArtifactStore,
    order: &UploadOrder,
    bytes: &[u8],
    at: UnixMicros,
) -> Result<Uploaded, StoreError> {
    let upload = depot.begin_upload(order, at)?;
    send(depot, &upload, bytes);
    depot.finish_upload(&upload.id, None, at)
}

/// Uploads some bytes under a name, in one part.
pub fn upload(depot: &dyn ArtifactStore, name: &str, bytes: &[u8]) -> Uploaded {
    try_upload(depot, &named(name), bytes, NOW).expect("upload")
}

pub(super) fn content(depot: &dyn ArtifactStore, name: &str) -> Option<Vec<u8>> {
    let artifact = depot.artifact(name).expect("look")?;
    Some(std::fs::read(depot.blob_path(&artifact.sha256)).expect("its bytes are there"))
}

fn a_name_is_replaced_only_where_that_is_said(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    upload(depot, "a", b"one");
    refused(depot.begin_upload(&named("a"), NOW));
    // It comes between the beginning and the end of an upload.
    let begun = depot.begin_upload(&named("b"), NOW).expect("begin");
    send(depot, &begun, b"two");
    let mut order = NameOrder {
        sha256: digest(b"one"),
        replace: false,
        words: ArtifactWords::default(),
    };
    let first = depot.name_blob("b", &order, NOW).expect("name");
    refused(depot.finish_upload(&begun.id, None, NOW));
    assert_eq!(content(depot, "b").as_deref(), Some(&b"one"[..]));
    assert_eq!(
        depot.blobs().expect("list").len(),
        1,
        "nothing half is there"
    );
    let again = depot.name_blob("b", &order, UnixMicros(NOW.0 + 1));
    assert_eq!(again.expect("the same again"), first);
    depot.delete_artifact("b", NOW).expect("delete");
    depot.finish_upload(&begun.id, None, NOW).expect("finish");
    refused(depot.name_blob("b", &order, NOW));
    order.replace = true;
    depot.name_blob("b", &order, NOW).expect("replace");
    assert_eq!(content(depot, "b").as_deref(), Some(&b"one"[..]));
    order.sha256 = digest(b"nowhere");
    match depot.name_blob("c", &order, NOW) {
        Err(StoreError::Missing { .. }) => {}
        other => panic!("{other:?}"),
    }
}

fn bad_names_are_refused(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    upload(depot, "good", b"one");
    let digest = name_of_digest(&digest(b"one"));
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a b",
        "a%2fb",
        &digest,
        "sha256:x",
    ] {
        refused(depot.begin_upload(&named(bad), NOW));
        let order = NameOrder {
            sha256: super::artifacts::digest(b"one"),
            replace: true,
            words: ArtifactWords::default(),
        };
        refused(depot.name_blob(bad, &order, NOW));
        let alias = |target: &str| AliasOrder {
            target: target.to_owned(),
            replace: true,
        };
        refused(depot.set_alias(bad, &alias("good"), NOW));
        refused(depot.set_alias("alias", &alias(bad), NOW));
    }
    let names = depot.artifacts(&ArtifactFilter::default()).expect("list");
    assert_eq!(names.len(), 1, "{names:?}");
}

fn aliases_are_followed_and_never_in_circles(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    upload(depot, "v1", b"one");
    upload(depot, "v2", b"two");
    let set = |name: &str, target: &str, replace| {
        let target = target.to_owned();
        depot.set_alias(name, &AliasOrder { target, replace }, NOW)
    };
    let alias = set("stable", "v1", false).expect("alias");
    assert_eq!(
        (alias.alias.as_deref(), alias.sha256),
        (Some("v1"), digest(b"one"))
    );
    set("latest", "stable", false).expect("alias of an alias");
    set("stable", "v1", false).expect("the same again");
    refused(set("stable", "v2", false));
    set("stable", "v2", true).expect("replace");
    assert_eq!(content(depot, "latest").as_deref(), Some(&b"two"[..]));
    refused(set("stable", "latest", true));
    refused(set("stable", "stable", true));
    refused(set("v1", "v2", true));
    assert!(matches!(
        set("x", "nowhere", false),
        Err(StoreError::Missing { .. })
    ));
    refused(depot.begin_upload(&named("stable"), NOW));
    let mut last = "v1".to_owned();
    for number in 0..64 {
        let next = format!("chain{number}");
        match set(&next, &last, false) {
            Ok(found) => assert_eq!(found.sha256, digest(b"one")),
            too_long => {
                refused(too_long);
                assert!(number > 8, "{number}");
                return;
            }
        }
        last = next;
    }
    panic!("a chain of any length");
}

fn what_is_needed_is_not_deleted(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    upload(depot, "v1", b"one");
    let order = AliasOrder {
        target: "v1".to_owned(),
        replace: false,
    };
    depot.set_alias("stable", &order, NOW).expect("alias");
    let why = refused(depot.delete_artifact("v1", NOW));
    assert!(why.contains("alias `stable`"), "{why}");
    let blob = name_of_digest(&digest(b"one"));
    let why = refused(depot.delete_artifact(&blob, NOW));
    assert!(why.contains("artifact `v1`"), "{why}");
    let shown = depot.artifact("v1").expect("look").expect("it is there");
    assert_eq!(shown.needed_by, ["alias `stable`"]);
    for name in ["stable", "v1", &blob] {
        assert!(depot.delete_artifact(name, NOW).expect("delete"), "{name}");
        assert!(!depot.delete_artifact(name, NOW).expect("delete"), "{name}");
    }
    assert_eq!(depot.blobs().expect("list"), []);
    assert!(!depot.blob_path(&digest(b"one")).exists());
}

fn artifacts_are_listed_by_name_in_pages(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    for name in ["b/2", "a", "b/1", "b_", "c"] {
        upload(depot, name, name.as_bytes());
    }
    let order = AliasOrder {
        target: "a".to_owned(),
        replace: false,
    };
    depot.set_alias("b/0", &order, NOW).expect("alias");
    let list = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let filter = ArtifactFilter {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
        };
        let all = depot.artifacts(&filter).expect("list");
        all.into_iter().map(|artifact| artifact.name).collect()
    };
    assert_eq!(list("", None, 99), ["a", "b/0", "b/1", "b/2", "b_", "c"]);
    assert_eq!(list("b/", None, 2), ["b/0", "b/1"]);
    assert_eq!(list("b/", Some("b/1"), 2), ["b/2"]);
    assert_eq!(list("%", None, 9), [""; 0]);
}

fn only_blobs_that_nothing_stands_for_are_collected(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    upload(depot, "kept", b"kept");
    upload(depot, "gone", b"gone");
    let later = UnixMicros(NOW.0 + 100);
    depot.delete_artifact("gone", later).expect("delete");
    assert_eq!(depot.collect_blobs(NOW, false).expect("collect"), []);
    let would = depot.collect_blobs(later, true).expect("look");
    assert_eq!(would.len(), 1);
    let path = depot.blob_path(&digest(b"gone"));
    let mut open = std::fs::File::open(&path).expect("open");
    assert_eq!(depot.collect_blobs(later, false).expect("collect"), would);
    assert!(!path.exists());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut open, &mut text).expect("read");
    assert_eq!(text, "gone", "who has it open reads on");
    assert_eq!(content(depot, "kept").as_deref(), Some(&b"kept"[..]));
    assert_eq!(depot.collect_blobs(later, false).expect("collect"), []);
    // What was collected can come again.
    upload(depot, "gone", b"gone");
    assert_eq!(content(depot, "gone").as_deref(), Some(&b"gone"[..]));
    // A blob that was replaced waits from then on.
    let order = UploadOrder {
        replace: true,
        ..named("gone")
    };
    try_upload(depot, &order, b"new", later).expect("replace");
    assert_eq!(depot.collect_blobs(NOW, false).expect("collect"), []);
    assert_eq!(depot.collect_blobs(later, false).expect("collect").len(), 1);
}

fn image(name: &str, index: &[u8], data: &[u8]) -> NewImage {
    NewImage {
        name: name.to_owned(),
        order: ImageOrder {
            index: digest(index),
            data: digest(data),
            replace: false,
            labels: BTreeMap::new(),
        },
        written: ExpectedFlash {
            image_sha256: digest(data),
            chunks_sha256: digest(index),
            size: 512,
        },
        sector_size: 512,
    }
}

fn images_are_of_blobs_and_stay_while_a_machine_needs_them(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let new = image("debian", b"index", b"data");
    assert!(matches!(
        depot.put_image(&new, NOW),
        Err(StoreError::Missing { .. })
    ));
    let blob = UploadOrder::default();
    for bytes in [&b"index"[..], b"data", b"more"] {
        try_upload(depot, &blob, bytes, NOW).expect("upload");
    }
    let added = depot.put_image(&new, NOW).expect("add");
    assert_eq!((added.stored, added.sector_size), (4, 512));
    let later = UnixMicros(NOW.0 + 1);
    assert_eq!(depot.put_image(&new, later).expect("again"), added);
    let mut other = image("debian", b"index", b"more");
    refused(depot.put_image(&other, later));
    let collected = depot.collect_blobs(later, false).expect("collect");
    assert_eq!(
        collected.len(),
        1,
        "an image needs its blobs: {collected:?}"
    );
    try_upload(depot, &blob, b"more", NOW).expect("upload");
    other.order.replace = true;
    let replaced = depot.put_image(&other, later).expect("replace");
    assert_eq!(depot.images().expect("list"), [replaced]);
    store
        .arm_flash(&mac(1), &order("debian"), false, NOW)
        .expect("arm");
    let why = refused(depot.remove_image("debian", later));
    assert!(why.contains(&mac(1).to_string()), "{why}");
    store.forget_machine(&mac(1)).expect("forget");
    assert!(depot.remove_image("debian", later).expect("remove"));
    assert!(!depot.remove_image("debian", later).expect("remove"));
    assert_eq!(depot.collect_blobs(later, false).expect("collect").len(), 3);
}
