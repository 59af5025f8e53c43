//! Artifacts, uploads and images.

use std::collections::BTreeMap;
use std::time::Duration;

use bootgate_api::artifact::{
    AliasOrder, ArtifactWords, ImageOrder, NameOrder, UploadInfo, UploadOrder, Uploaded,
    name_of_digest,
};
use bootgate_api::{ExpectedFlash, Sha256Hex, UnixMicros};
use bootgate_events::ArtifactRole;
use sha2::{Digest, Sha256};

use super::{Make, mac, named_checks, order, refused};
use crate::{ArtifactFilter, ArtifactStore, NewImage, Store, StoreError, UploadLimits};

named_checks! {
    an_upload_becomes_a_blob_with_a_name,
    an_upload_goes_on_where_it_is_durable,
    one_goes_on_with_an_upload_at_a_time,
    a_wrong_digest_leaves_nothing,
    too_few_bytes_are_not_finished_and_too_many_not_taken,
    to_finish_again_says_the_same,
    the_same_order_finds_its_upload_again,
    uploads_that_wait_too_long_are_forgotten,
    limits_hold,
    a_name_is_replaced_only_where_that_is_said,
    bad_names_are_refused,
    aliases_are_followed_and_never_in_circles,
    what_is_needed_is_not_deleted,
    artifacts_are_listed_by_name_in_pages,
    only_blobs_that_nothing_stands_for_are_collected,
    images_are_of_blobs_and_stay_while_a_machine_needs_them,
    two_uploads_of_the_same_bytes_are_one_blob,
}

const NOW: UnixMicros = UnixMicros(1_000_000_000);

fn depot(store: &dyn Store) -> &dyn ArtifactStore {
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

fn named(name: &str) -> UploadOrder {
    UploadOrder {
        name: Some(name.to_owned()),
        ..UploadOrder::default()
    }
}

fn send(depot: &dyn ArtifactStore, upload: &UploadInfo, bytes: &[u8]) -> u64 {
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

fn content(depot: &dyn ArtifactStore, name: &str) -> Option<Vec<u8>> {
    let artifact = depot.artifact(name).expect("look")?;
    Some(std::fs::read(depot.blob_path(&artifact.sha256)).expect("its bytes are there"))
}

fn an_upload_becomes_a_blob_with_a_name(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let order = UploadOrder {
        words: ArtifactWords {
            media_type: None,
            role: None,
            labels: BTreeMap::from([("from".to_owned(), "here".to_owned())]),
        },
        ..named("boot/x.efi")
    };
    let begun = depot.begin_upload(&order, NOW).expect("begin");
    assert_eq!((begun.offset, &begun.order), (0, &order));
    assert_eq!(send(depot, &begun, b"bytes"), 5);
    assert_eq!(content(depot, "boot/x.efi"), None, "it is not finished");
    let done = depot.finish_upload(&begun.id, None, NOW).expect("finish");
    assert_eq!((done.blob.sha256, done.blob.size), (digest(b"bytes"), 5));
    let artifact = done.artifact.expect("a name was ordered");
    assert_eq!(artifact.role, ArtifactRole::Nbp);
    assert_eq!(artifact.media_type, "application/efi");
    assert_eq!(artifact.labels, order.words.labels);
    assert_eq!(depot.artifact("boot/x.efi").expect("look"), Some(artifact));
    let name = name_of_digest(&digest(b"bytes"));
    for name in ["boot/x.efi", &name] {
        assert_eq!(content(depot, name).as_deref(), Some(&b"bytes"[..]));
    }
    // Nothing at all is a blob too.
    upload(depot, "empty", b"");
    assert_eq!(content(depot, "empty").as_deref(), Some(&b""[..]));
}

fn an_upload_goes_on_where_it_is_durable(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let begun = depot.begin_upload(&named("a"), NOW).expect("begin");
    send(depot, &begun, b"first ");
    // What is not committed is lost.
    let mut part = depot.append_upload(&begun.id, 6).expect("go on");
    part.write(b"lost").expect("write");
    drop(part);
    for wrong in [0, 5, 7, 10, u64::MAX] {
        match depot.append_upload(&begun.id, wrong).map(drop) {
            Err(StoreError::Offset { offset: 6, .. }) => {}
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let known = depot.upload(&begun.id).expect("it is known");
    assert_eq!(known.offset, 6);
    send(depot, &known, b"second");
    let done = depot.finish_upload(&begun.id, None, NOW).expect("finish");
    assert_eq!(done.blob.sha256, digest(b"first second"));
    match depot.append_upload("nobody", 0).map(drop) {
        Err(StoreError::Missing { .. }) => {}
        other => panic!("{other:?}"),
    }
}

fn one_goes_on_with_an_upload_at_a_time(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let begun = depot.begin_upload(&named("a"), NOW).expect("begin");
    let mut part = depot.append_upload(&begun.id, 0).expect("go on");
    refused(depot.append_upload(&begun.id, 0).map(drop));
    refused(depot.finish_upload(&begun.id, None, NOW));
    refused(depot.cancel_upload(&begun.id));
    part.write(b"x").expect("write");
    part.commit(NOW).expect("commit");
    drop(part);
    assert!(depot.cancel_upload(&begun.id).expect("cancel"));
    assert!(!depot.cancel_upload(&begun.id).expect("cancel"));
    assert_eq!(depot.uploads().expect("list"), []);
}

fn a_wrong_digest_leaves_nothing(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    for at_the_end in [false, true] {
        let wrong = Some(digest(b"other"));
        let order = UploadOrder {
            sha256: wrong.filter(|_| !at_the_end),
            ..named("a")
        };
        let begun = depot.begin_upload(&order, NOW).expect("begin");
        send(depot, &begun, b"bytes");
        let end = wrong.filter(|_| at_the_end);
        match depot.finish_upload(&begun.id, end, NOW) {
            Err(StoreError::Wrong { why, .. }) => {
                assert!(why.contains(&digest(b"bytes").to_string()), "{why}");
            }
            other => panic!("{other:?}"),
        }
        assert!(depot.upload(&begun.id).is_err());
        assert_eq!(depot.artifact("a").expect("look"), None);
        assert_eq!(depot.blobs().expect("list"), []);
    }
}

fn too_few_bytes_are_not_finished_and_too_many_not_taken(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let order = UploadOrder {
        size: Some(6),
        ..named("a")
    };
    let begun = depot.begin_upload(&order, NOW).expect("begin");
    send(depot, &begun, b"byt");
    match depot.finish_upload(&begun.id, None, NOW) {
        Err(StoreError::Offset { offset: 3, .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut part = depot.append_upload(&begun.id, 3).expect("go on");
    match part.write(b"four") {
        Err(StoreError::TooLarge { .. }) => {}
        other => panic!("{other:?}"),
    }
    part.write(b"esx").expect("it goes on where it was");
    assert_eq!(part.commit(NOW).expect("commit"), 6);
    drop(part);
    let done = depot.finish_upload(&begun.id, None, NOW).expect("finish");
    assert_eq!(done.blob.sha256, digest(b"bytesx"));
}

fn to_finish_again_says_the_same(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let begun = depot.begin_upload(&named("a"), NOW).expect("begin");
    send(depot, &begun, b"bytes");
    let done = depot.finish_upload(&begun.id, None, NOW).expect("finish");
    let again = depot.finish_upload(&begun.id, None, UnixMicros(NOW.0 + 1));
    assert_eq!(again.expect("again"), done);
    let known = depot.upload(&begun.id).expect("it is known");
    assert_eq!(known.finished, Some(digest(b"bytes")));
    refused(depot.append_upload(&begun.id, 5).map(drop));
}

fn the_same_order_finds_its_upload_again(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let order = UploadOrder {
        sha256: Some(digest(b"bytes")),
        size: Some(5),
        ..named("a")
    };
    let begun = depot.begin_upload(&order, NOW).expect("begin");
    send(depot, &begun, b"byt");
    let again = depot.begin_upload(&order, NOW).expect("begin");
    assert_eq!((&again.id, again.offset), (&begun.id, 3));
    // Without a digest nobody can know that it is the same.
    let first = depot.begin_upload(&named("b"), NOW).expect("begin");
    let second = depot.begin_upload(&named("b"), NOW).expect("begin");
    assert_ne!(first.id, second.id);
    send(depot, &again, b"es");
    depot.finish_upload(&again.id, None, NOW).expect("finish");
    let other = depot.begin_upload(&order, NOW).expect("begin");
    assert_ne!(other.id, begun.id, "a finished one is over");
}

fn uploads_that_wait_too_long_are_forgotten(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    depot.set_upload_limits(UploadLimits {
        idle: Duration::from_secs(10),
        keep_free: 0,
        ..UploadLimits::default()
    });
    let old = depot.begin_upload(&named("a"), NOW).expect("begin");
    let late = UnixMicros(NOW.0 + 10_000_000);
    let new = depot.begin_upload(&named("b"), late).expect("begin");
    assert_eq!(
        depot
            .expire_uploads(UnixMicros(NOW.0 + 9_999_999))
            .expect("expire"),
        0
    );
    assert_eq!(depot.expire_uploads(late).expect("expire"), 1);
    assert!(depot.upload(&old.id).is_err());
    assert_eq!(depot.uploads().expect("list"), [new]);
}

fn limits_hold(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    depot.set_upload_limits(UploadLimits {
        size: 8,
        total: 12,
        keep_free: 0,
        open: 2,
        ..UploadLimits::default()
    });
    let sized = |name: &str, size| UploadOrder {
        size: Some(size),
        ..named(name)
    };
    let too_large = |outcome: Result<UploadInfo, StoreError>| match outcome {
        Err(StoreError::TooLarge { .. }) => {}
        other => panic!("{other:?}"),
    };
    too_large(depot.begin_upload(&sized("a", 9), NOW));
    let first = depot.begin_upload(&sized("a", 8), NOW).expect("begin");
    // What was promised to one is not there for others.
    too_large(depot.begin_upload(&sized("b", 5), NOW));
    let second = depot.begin_upload(&named("b"), NOW).expect("begin");
    refused(depot.begin_upload(&named("c"), NOW));
    let mut part = depot.append_upload(&second.id, 0).expect("go on");
    part.write(b"1234").expect("write");
    match part.write(b"5") {
        Err(StoreError::TooLarge { .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(part);
    send(depot, &first, b"12345678");
    depot.finish_upload(&first.id, None, NOW).expect("finish");
    depot.cancel_upload(&second.id).expect("cancel");
    too_large(depot.begin_upload(&sized("b", 5), NOW));
    depot.delete_artifact("a", NOW).expect("delete");
    depot.collect_blobs(NOW, false).expect("collect");
    depot
        .begin_upload(&sized("b", 5), NOW)
        .expect("there is room");
    depot.set_upload_limits(UploadLimits {
        keep_free: u64::MAX,
        ..UploadLimits::default()
    });
    match depot.begin_upload(&named("c"), NOW) {
        Err(StoreError::Full { .. }) => {}
        other => panic!("{other:?}"),
    }
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

fn two_uploads_of_the_same_bytes_are_one_blob(make: Make<'_>) {
    let store = make();
    let depot = depot(&*store);
    let first = depot.begin_upload(&named("a"), NOW).expect("begin");
    let second = depot.begin_upload(&named("b"), NOW).expect("begin");
    std::thread::scope(|scope| {
        for upload in [&first, &second] {
            scope.spawn(move || {
                send(depot, upload, b"the same");
                depot.finish_upload(&upload.id, None, NOW).expect("finish");
            });
        }
    });
    assert_eq!(depot.blobs().expect("list").len(), 1);
    for name in ["a", "b"] {
        assert_eq!(content(depot, name).as_deref(), Some(&b"the same"[..]));
    }
}
