//! What the dumps of released schemas hold. A later schema gets a sample of its own; this one never changes.

use bootgate_api::artifact::{AliasOrder, ImageOrder, UploadOrder};
use bootgate_api::{Attempt, BootMode, DiskState, Lease, LeaseState, Machine, Nonce, UnixMicros};
use bootgate_events::{Cause, Event, Stage, Verdict};
use bootgate_store::conformance::artifacts::{digest, upload};
use bootgate_store::conformance::{event, expected, inventory, mac, nonce, order, verdict};
use bootgate_store::{
    ArtifactFilter, ArtifactStore, AttemptFilter, Discovery, LeaseEnd, LeaseGrant, MachineChange,
    NewAttempt, NewImage, Store, UploadLimits,
};

/// The name of one of the machines.
pub const NAME: &str = "rack1-slot2";

/// What is granted.
pub fn leases() -> [LeaseGrant; 4] {
    let grant = |ip: &str, last, ends| LeaseGrant {
        ip: ip.parse().expect("an address"),
        mac: mac(last),
        subnet: "10.0.0.0/24".to_owned(),
        ends: UnixMicros(ends),
        at: UnixMicros(1_000_000),
        client: None,
    };
    [
        grant("10.0.0.10", 1, 9_000_000),
        grant("10.0.0.11", 2, 9_000_000),
        grant("10.0.0.12", 3, u64::MAX),
        LeaseGrant {
            subnet: "fd00::/64".to_owned(),
            client: Some("000100/1".to_owned()),
            ..grant("fd00::10", 1, 9_000_000)
        },
    ]
}

/// Fills an empty store.
pub fn fill(store: &dyn Store) {
    store.grant_leases(&leases()).expect("grant");
    let end = |ip: [u8; 4], last, state| LeaseEnd {
        ip: ip.into(),
        mac: mac(last),
        state,
        ends: UnixMicros(3_000_000),
        at: UnixMicros(2_000_000),
    };
    for end in [
        end([10, 0, 0, 11], 2, LeaseState::Ended),
        end([10, 0, 0, 13], 4, LeaseState::Quarantined),
    ] {
        store.end_lease(&end).expect("end");
    }
    let script = "s".to_owned();
    let installer = "i".to_owned();
    for (last, boot) in (1..).zip([
        BootMode::Local,
        BootMode::FlashOnce(order("a")),
        BootMode::FlashAlways(order("b")),
        BootMode::Inventory,
        BootMode::Install { installer },
        BootMode::Script { script },
    ]) {
        let change = MachineChange {
            boot: Some(boot),
            ..MachineChange::default()
        };
        let set = store.set_machine(&mac(last), &change, UnixMicros(1));
        set.expect("set the machine");
    }
    let change = MachineChange {
        name: Some(Some(NAME.to_owned())),
        labels: [("größe".to_owned(), Some("1 HE".to_owned()))].into(),
        ..MachineChange::default()
    };
    let set = store.set_machine(&mac(1), &change, UnixMicros(2));
    set.expect("set the machine");
    let contact = Discovery {
        mac: mac(7),
        boot: BootMode::Local,
        architecture: Some(9),
        at: UnixMicros(3),
        limit: 9,
    };
    store.discover_machine(&contact).expect("discover");
    for (last, number) in [(2, 1), (3, 2), (4, 3)] {
        attempt(store, last, number);
    }
    if let Some(depot) = store.artifacts() {
        artifacts(depot);
    }
}

/// Two names of one blob, an alias, an image of two blobs, and an upload that did not end.
fn artifacts(depot: &dyn ArtifactStore) {
    depot.set_upload_limits(UploadLimits {
        keep_free: 0,
        ..UploadLimits::default()
    });
    for (name, bytes) in [("a/1", "one"), ("a/2", "one"), ("index", "two")] {
        upload(depot, name, bytes.as_bytes());
    }
    let alias = AliasOrder {
        target: "a/1".to_owned(),
        replace: false,
    };
    depot
        .set_alias("stable", &alias, UnixMicros(5))
        .expect("alias");
    let image = NewImage {
        name: "debian".to_owned(),
        order: ImageOrder {
            index: digest(b"two"),
            data: digest(b"one"),
            replace: false,
            labels: [("k".to_owned(), "v".to_owned())].into(),
        },
        written: expected(1),
        sector_size: 4096,
    };
    depot.put_image(&image, UnixMicros(6)).expect("add");
    let order = UploadOrder {
        name: Some("later".to_owned()),
        size: Some(9),
        ..UploadOrder::default()
    };
    depot.begin_upload(&order, UnixMicros(7)).expect("begin");
}

fn artifacts_are_there(depot: &dyn ArtifactStore) {
    let all = depot.artifacts(&ArtifactFilter::default()).expect("list");
    let names: Vec<_> = all
        .iter()
        .map(|artifact| (artifact.name.as_str(), artifact.sha256))
        .collect();
    let (one, two) = (digest(b"one"), digest(b"two"));
    assert_eq!(
        names,
        [("a/1", one), ("a/2", one), ("index", two), ("stable", one)]
    );
    let images = depot.images().expect("images");
    assert_eq!(images.len(), 1);
    assert_eq!(
        (&images[0].written, images[0].data),
        (&expected(1), Some(one))
    );
    let uploads = depot.uploads().expect("uploads");
    let open: Vec<_> = uploads
        .iter()
        .filter(|upload| upload.finished.is_none())
        .collect();
    assert_eq!((open.len(), open[0].order.size), (1, Some(9)));
}

/// The first of a machine that flashes is left half written, the second completes; the last is an inventory.
fn attempt(store: &dyn Store, last: u8, number: u64) {
    let machine = store.machine(&mac(last)).expect("machine");
    let boot = machine.expect("it is known").boot;
    let new = NewAttempt {
        mac: mac(last),
        local: false,
        expected: boot.flash().map(|_| expected(last)),
        boot,
        at: UnixMicros(10),
    };
    let id = store.open_attempt(&new).expect("open").id;
    let peer = [10, 0, 0, last].into();
    let nonce = nonce(number);
    store.issue_nonce(&id, &nonce, peer).expect("give a nonce");
    let events = [event(&id, 0, "first"), event(&id, 1, "second")];
    store.append_events(&events).expect("append");
    let at = UnixMicros(20);
    match number {
        1 => {
            store.begin_flash(&nonce).expect("begin");
            let failed = verdict(Verdict::Failed {
                stage: Stage::Flash,
                cause: Cause::UnexpectedReset,
                evidence: Vec::new(),
            });
            store.finish_attempt(&id, &failed, at).expect("finish");
        }
        2 => {
            store.begin_flash(&nonce).expect("begin");
            let written = expected(last);
            let completed = store.complete_flash(&nonce, &written, at);
            completed.expect("complete");
        }
        _ => {
            let inventory = inventory(2);
            let recorded = store.record_inventory(&nonce, &inventory);
            recorded.expect("record");
        }
    }
}

#[derive(Debug, PartialEq)]
struct Everything {
    leases: Vec<Lease>,
    machines: Vec<Machine>,
    attempts: Vec<Attempt>,
    by_nonce: Vec<Option<Attempt>>,
    events: Vec<Event>,
}

fn everything(store: &dyn Store) -> Everything {
    let attempts = store.attempts(&AttemptFilter::default()).expect("attempts");
    let by_nonce = |number| -> Option<Attempt> {
        let nonce: Nonce = nonce(number);
        store.attempt_by_nonce(&nonce).expect("attempt")
    };
    let events = |attempt: &Attempt| store.events(&attempt.id, 0, 99).expect("events");
    Everything {
        leases: store.leases().expect("leases"),
        machines: store.machines().expect("machines"),
        by_nonce: (0..5).map(by_nonce).collect(),
        events: attempts.iter().flat_map(events).collect(),
        attempts,
    }
}

/// That a store holds what [`fill`] makes, as far as a schema knew of it.
pub fn is_there(store: &dyn Store, schema: u32) {
    let model = super::Model::default();
    fill(&model);
    let mut expected = everything(&model);
    assert_eq!(expected.events.len(), 6);
    let dirty = |machine: &&Machine| matches!(machine.disk, DiskState::Dirty { .. });
    assert_eq!(expected.machines.iter().filter(dirty).count(), 1);
    if schema < 2 {
        for lease in &mut expected.leases {
            lease.client = None;
        }
    }
    assert_eq!(everything(store), expected, "of schema {schema}");
    if let Some(depot) = store.artifacts().filter(|_| schema >= 3) {
        artifacts_are_there(depot);
    }
}
