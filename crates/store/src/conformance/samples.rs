//! Values for tests.

use std::collections::BTreeMap;

use bootgate_api::{
    AfterFlash, DiskFacts, DiskSelector, ExpectedFlash, FlashOrder, Inventory, NicFacts, Nonce,
    Sha256Hex,
};
use bootgate_events::{
    AttemptId, Event, EventBody, MacAddr, RunId, SCHEMA, TargetName, TargetVerdict, UnknownEvent,
    Verdict,
};

/// A hardware address.
#[must_use]
pub fn mac(last: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, last])
}

/// A nonce.
#[must_use]
pub fn nonce(number: u64) -> Nonce {
    let mut bytes = [0xab; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::from_bytes(bytes)
}

/// An order to flash an image of this name.
#[must_use]
pub fn order(image: &str) -> FlashOrder {
    FlashOrder {
        image: image.to_owned(),
        disk: DiskSelector {
            serial: Some("SN-1".to_owned()),
            ..DiskSelector::default()
        },
        after: AfterFlash::Reboot,
    }
}

/// What a flash of an image must have written.
#[must_use]
pub fn expected(image: u8) -> ExpectedFlash {
    ExpectedFlash {
        image_sha256: Sha256Hex([image; 32]),
        chunks_sha256: Sha256Hex([image ^ 0xff; 32]),
        size: 1 << 20,
    }
}

/// A verdict of one target.
#[must_use]
pub fn verdict(verdict: Verdict) -> TargetVerdict {
    TargetVerdict {
        name: TargetName::new("m"),
        verdict,
        stages: Vec::new(),
        image_sha256: None,
        disk_sha256: None,
        disk_proof: None,
        disk_ranges: Vec::new(),
    }
}

/// What a machine with so many disks tells of itself.
#[must_use]
pub fn inventory(disks: u8) -> Inventory {
    let disk = |number| DiskFacts {
        path: format!("/dev/vd{number}"),
        size: 1 << 30,
        sector_size: 512,
        serial: Some(format!("SN-{number}")),
        model: None,
    };
    Inventory {
        system: BTreeMap::from([("product".to_owned(), "Größe 1".to_owned())]),
        cpu: "a processor".to_owned(),
        cpus: 2,
        memory: u64::MAX,
        firmware: "uefi".to_owned(),
        disks: (0..disks).map(disk).collect(),
        nics: vec![NicFacts {
            name: "eth0".to_owned(),
            mac: mac(1),
            driver: None,
        }],
        // As in the databases of earlier schemas.
        undriven: Vec::new(),
    }
}

/// An event of an attempt; `seq` shows in its body too.
#[must_use]
pub fn event(attempt: &AttemptId, seq: u64, kind: &str) -> Event {
    let fields = [("number".to_owned(), seq.into())];
    Event {
        schema: SCHEMA,
        seq,
        mono_us: seq * 10,
        wall_us: 1_000_000 + seq,
        run: RunId::new(attempt.as_str()),
        attempt: Some(attempt.clone()),
        target: None,
        body: EventBody::Unknown(UnknownEvent {
            kind: kind.to_owned(),
            fields: fields.into_iter().collect(),
        }),
    }
}
