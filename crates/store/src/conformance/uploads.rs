//! Uploads.

use std::collections::BTreeMap;
use std::time::Duration;

use bootgate_api::UnixMicros;
use bootgate_api::artifact::{ArtifactWords, UploadInfo, UploadOrder, name_of_digest};
use bootgate_events::ArtifactRole;

use super::artifacts::{NOW, content, depot, digest, named, send, upload};
use super::{Make, named_checks, refused};
use crate::{StoreError, UploadLimits};

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
    two_uploads_of_the_same_bytes_are_one_blob,
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
