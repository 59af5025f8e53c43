//! Logs are read by other versions than wrote them.

use bootgate_events::{
    Cause, DeadlineKind, Event, EventBody, EventKind, MacAddr, SCHEMA, Stage, Verdict,
};

fn event(body: EventBody) -> Event {
    Event {
        schema: SCHEMA,
        seq: 7,
        mono_us: 1_500_999,
        wall_us: 1_790_000_000_000_000,
        run: "r".into(),
        attempt: Some("00ff".into()),
        target: Some("client".into()),
        body,
    }
}

#[test]
fn an_event_survives_a_round_trip() {
    let verdict = Verdict::Failed {
        stage: Stage::DiskBoot,
        cause: Cause::DeadlineExpired {
            deadline: DeadlineKind::Stall,
            limit_ms: 60_000,
        },
        evidence: Vec::new(),
    };
    let before = event(EventKind::VerdictReached { verdict }.into());
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), before);
    assert!(text.contains(r#""kind":"verdict-reached""#), "{text}");
    assert!(text.contains(r#""stage":"disk-boot""#), "{text}");
    assert_eq!(before.mono_ms(), 1500);
}

#[test]
fn an_unknown_kind_is_kept_as_it_came() {
    let text = r#"{"schema":1,"seq":7,"mono_us":1,"wall_us":2,"run":"r","target":"client","kind":"tea-made","sugar":{"lumps":2}}"#;
    let read: Event = serde_json::from_str(text).unwrap();
    assert!(read.kind().is_none());
    let again: serde_json::Value = serde_json::to_value(&read).unwrap();
    assert_eq!(
        again,
        serde_json::from_str::<serde_json::Value>(text).unwrap()
    );
}

#[test]
fn a_known_kind_with_a_wrong_field_is_an_error_and_not_unknown() {
    let text = r#"{"schema":1,"seq":7,"mono_us":1,"wall_us":2,"run":"r","kind":"console-chunk","offset":"far","len":1}"#;
    assert!(serde_json::from_str::<Event>(text).is_err());
    let without_kind = r#"{"schema":1,"seq":7,"mono_us":1,"wall_us":2,"run":"r"}"#;
    assert!(serde_json::from_str::<Event>(without_kind).is_err());
}

#[test]
fn a_known_kind_may_have_fields_of_a_newer_version() {
    let text = r#"{"schema":1,"seq":7,"mono_us":1,"wall_us":2,"run":"r","kind":"console-chunk","offset":4,"len":1,"parity":"even"}"#;
    let read: Event = serde_json::from_str(text).unwrap();
    assert_eq!(
        read.kind(),
        Some(&EventKind::ConsoleChunk { offset: 4, len: 1 })
    );
}

#[test]
fn mac_addresses_are_read_in_both_notations_and_nothing_else() {
    let mac = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xab]);
    assert_eq!("52:54:00:12:34:AB".parse(), Ok(mac));
    assert_eq!("52-54-00-12-34-ab".parse(), Ok(mac));
    assert_eq!(mac.hyphenated(), "52-54-00-12-34-ab");
    for bad in [
        "",
        "52:54:00:12:34",
        "52:54:00:12:34:ab:cd",
        "52:54:00:12:34:+b",
        "52:54-00:12:34:ab",
        "525400:12:34:ab",
    ] {
        assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
    }
}

#[test]
fn stages_are_ordered_as_an_attempt_passes_them() {
    assert!(Stage::ALL.is_sorted());
    for stage in Stage::ALL {
        assert_eq!(stage.as_str().parse(), Ok(stage));
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
    }
}
