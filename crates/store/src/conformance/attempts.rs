//! Attempts and nonces.

use std::net::IpAddr;

use bootgate_api::{Attempt, BootMode, UnixMicros};
use bootgate_events::{AttemptId, Cause, MacAddr, Stage, Verdict};

use super::{Make, event, expected, mac, named_checks, nonce, order, refused, verdict};
use crate::{AttemptFilter, NewAttempt, Store};

named_checks! {
    an_attempt_opens,
    numbers_of_attempts_sort_and_are_public,
    a_machine_has_one_open_attempt,
    a_number_never_comes_back,
    a_nonce_is_bound_to_who_asked,
    a_later_nonce_voids_the_one_before,
    a_nonce_needs_an_open_attempt,
    a_nonce_is_given_once,
    an_attempt_is_finished_once,
    attempts_are_listed_latest_first,
    attempts_are_filtered,
    old_attempts_are_pruned_for_each_machine,
    what_is_no_number_is_no_attempt,
}

fn new(mac: MacAddr, at: u64) -> NewAttempt {
    NewAttempt {
        mac,
        boot: BootMode::FlashOnce(order("a")),
        local: false,
        expected: Some(expected(1)),
        at: UnixMicros(at),
    }
}

fn peer() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

fn open(store: &dyn Store, last: u8) -> Attempt {
    store.open_attempt(&new(mac(last), 10)).expect("open")
}

fn finish(store: &dyn Store, id: &AttemptId) -> Attempt {
    store
        .finish_attempt(id, &verdict(Verdict::Passed), UnixMicros(20))
        .expect("finish")
}

fn get(store: &dyn Store, id: &AttemptId) -> Attempt {
    let attempt = store.attempt(id).expect("attempt");
    attempt.expect("the attempt is known")
}

fn listed(store: &dyn Store, filter: &AttemptFilter) -> Vec<AttemptId> {
    let attempts = store.attempts(filter).expect("attempts");
    for attempt in &attempts {
        assert_eq!(get(store, &attempt.id), *attempt);
    }
    attempts.into_iter().map(|attempt| attempt.id).collect()
}

fn an_attempt_opens(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    assert_eq!(
        attempt,
        Attempt {
            id: attempt.id.clone(),
            mac: mac(1),
            boot: BootMode::FlashOnce(order("a")),
            local: false,
            expected: Some(expected(1)),
            nonces: 0,
            peer: None,
            opened: UnixMicros(10),
            finished: None,
            verdict: None,
        }
    );
    assert_eq!(get(&*store, &attempt.id), attempt);
    assert_eq!(store.machine(&mac(1)).expect("machine"), None);
}

fn numbers_of_attempts_sort_and_are_public(make: Make<'_>) {
    let store = make();
    let ids: Vec<_> = (1..=12).map(|last| open(&*store, last).id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids[0].as_str().len(), 11, "{ids:?}");
    let secret = nonce(77);
    let issued = store.issue_nonce(&ids[3], &secret, peer());
    let shown = serde_json::to_string(&issued.expect("give a nonce").attempt);
    assert!(!shown.expect("JSON").contains(secret.as_str()));
}

fn a_machine_has_one_open_attempt(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    let why = refused(store.open_attempt(&new(mac(1), 11)));
    assert!(why.contains(attempt.id.as_str()), "{why}");
    assert_eq!(listed(&*store, &AttemptFilter::default()).len(), 1);
    open(&*store, 2);
    finish(&*store, &attempt.id);
    let next = open(&*store, 1);
    assert!(next.id > attempt.id);
}

fn a_number_never_comes_back(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    finish(&*store, &attempt.id);
    assert_eq!(store.prune_attempts(0).expect("prune"), 1);
    assert!(open(&*store, 1).id > attempt.id);
}

fn a_nonce_is_bound_to_who_asked(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    assert_eq!(store.attempt_by_nonce(&nonce(1)).expect("attempt"), None);
    let issued = store
        .issue_nonce(&attempt.id, &nonce(1), peer())
        .expect("give a nonce");
    assert_eq!(issued.earlier, 0);
    let bound = Attempt {
        nonces: 1,
        peer: Some(peer()),
        ..attempt
    };
    assert_eq!(issued.attempt, bound);
    assert_eq!(get(&*store, &bound.id), bound);
    let found = store.attempt_by_nonce(&nonce(1)).expect("attempt");
    assert_eq!(found, Some(bound));
}

fn a_later_nonce_voids_the_one_before(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    let elsewhere: IpAddr = "fd00::7".parse().expect("an address");
    store
        .issue_nonce(&attempt.id, &nonce(1), peer())
        .expect("give a nonce");
    let issued = store
        .issue_nonce(&attempt.id, &nonce(2), elsewhere)
        .expect("give a nonce");
    assert_eq!((issued.earlier, issued.attempt.nonces), (1, 2));
    assert_eq!(issued.attempt.peer, Some(elsewhere));
    assert_eq!(store.attempt_by_nonce(&nonce(1)).expect("attempt"), None);
    let found = store.attempt_by_nonce(&nonce(2)).expect("attempt");
    assert_eq!(found, Some(issued.attempt));
}

fn a_nonce_needs_an_open_attempt(make: Make<'_>) {
    let store = make();
    let unknown = AttemptId::new("a0000000099");
    refused(store.issue_nonce(&unknown, &nonce(1), peer()));
    let attempt = open(&*store, 1);
    store
        .issue_nonce(&attempt.id, &nonce(1), peer())
        .expect("give a nonce");
    let finished = finish(&*store, &attempt.id);
    refused(store.issue_nonce(&attempt.id, &nonce(2), peer()));
    assert_eq!(get(&*store, &attempt.id), finished);
    for number in [1, 2] {
        let found = store.attempt_by_nonce(&nonce(number)).expect("attempt");
        assert_eq!(found, None);
    }
}

fn a_nonce_is_given_once(make: Make<'_>) {
    let store = make();
    let (first, second) = (open(&*store, 1), open(&*store, 2));
    store
        .issue_nonce(&first.id, &nonce(1), peer())
        .expect("give a nonce");
    refused(store.issue_nonce(&second.id, &nonce(1), peer()));
    refused(store.issue_nonce(&first.id, &nonce(1), peer()));
    assert_eq!(get(&*store, &second.id), second);
    assert_eq!(get(&*store, &first.id).nonces, 1);
}

fn an_attempt_is_finished_once(make: Make<'_>) {
    let store = make();
    let attempt = open(&*store, 1);
    let failed = verdict(Verdict::Failed {
        stage: Stage::Flash,
        cause: Cause::AgentFailed {
            error: "no disk".to_owned(),
        },
        evidence: Vec::new(),
    });
    let finished = store
        .finish_attempt(&attempt.id, &failed, UnixMicros(20))
        .expect("finish");
    let expected = Attempt {
        finished: Some(UnixMicros(20)),
        verdict: Some(failed),
        ..attempt
    };
    assert_eq!(finished, expected);
    let again = store
        .finish_attempt(&expected.id, &verdict(Verdict::Passed), UnixMicros(30))
        .expect("finish");
    assert_eq!(again, expected);
    assert_eq!(get(&*store, &expected.id), expected);
    let unknown = AttemptId::new("a0000000099");
    let passed = verdict(Verdict::Passed);
    refused(store.finish_attempt(&unknown, &passed, UnixMicros(30)));
}

fn attempts_are_listed_latest_first(make: Make<'_>) {
    let store = make();
    let mut ids: Vec<_> = (1..=5).map(|last| open(&*store, last).id).collect();
    ids.reverse();
    assert_eq!(listed(&*store, &AttemptFilter::default()), ids);
    let page = |before: Option<&AttemptId>, limit| AttemptFilter {
        before: before.cloned(),
        limit,
        ..AttemptFilter::default()
    };
    assert_eq!(listed(&*store, &page(None, 2)), ids[..2]);
    assert_eq!(listed(&*store, &page(Some(&ids[1]), 2)), ids[2..4]);
    assert_eq!(listed(&*store, &page(Some(&ids[4]), 2)), []);
    assert_eq!(listed(&*store, &page(None, 0)), []);
}

fn attempts_are_filtered(make: Make<'_>) {
    let store = make();
    let first = open(&*store, 1).id;
    finish(&*store, &first);
    let second = open(&*store, 1).id;
    let other = open(&*store, 2).id;
    finish(&*store, &other);
    let of = |mac: Option<u8>, open| AttemptFilter {
        mac: mac.map(super::mac),
        open,
        ..AttemptFilter::default()
    };
    let first_two = [second.clone(), first.clone()];
    assert_eq!(listed(&*store, &of(Some(1), false)), first_two);
    for open in [of(Some(1), true), of(None, true)] {
        assert_eq!(listed(&*store, &open), std::slice::from_ref(&second));
    }
    assert_eq!(listed(&*store, &of(Some(3), false)), []);
    let before = AttemptFilter {
        before: Some(second),
        ..of(Some(1), false)
    };
    assert_eq!(listed(&*store, &before), [first]);
}

fn old_attempts_are_pruned_for_each_machine(make: Make<'_>) {
    let store = make();
    let run = |last| {
        let id = open(&*store, last).id;
        store
            .append_events(&[event(&id, 0, "x"), event(&id, 1, "x")])
            .expect("append");
        finish(&*store, &id);
        id
    };
    let of_one: Vec<_> = (0..4).map(|_| run(1)).collect();
    let of_two: Vec<_> = (0..2).map(|_| run(2)).collect();
    let open = open(&*store, 1).id;
    assert_eq!(store.prune_attempts(2).expect("prune"), 2);
    let mut kept = vec![open];
    kept.extend(of_two.into_iter().rev());
    kept.extend(of_one[2..].iter().rev().cloned());
    assert_eq!(listed(&*store, &AttemptFilter::default()), kept);
    assert_eq!(store.attempt(&of_one[0]).expect("attempt"), None);
    assert_eq!(store.events(&of_one[1], 0, 10).expect("events"), []);
    assert_eq!(store.events(&of_one[2], 0, 10).expect("events").len(), 2);
    assert_eq!(store.prune_attempts(2).expect("prune"), 0);
}

fn what_is_no_number_is_no_attempt(make: Make<'_>) {
    let store = make();
    open(&*store, 1);
    for text in ["", "1", "a1", "A0000000001", "a00000000001", "a-000000001"] {
        let id = AttemptId::new(text);
        assert_eq!(store.attempt(&id).expect("attempt"), None, "{text}");
        assert_eq!(store.events(&id, 0, 10).expect("events"), [], "{text}");
        refused(store.issue_nonce(&id, &nonce(1), peer()));
        let before = AttemptFilter {
            before: Some(id),
            ..AttemptFilter::default()
        };
        assert_eq!(listed(&*store, &before), [], "{text}");
    }
}
