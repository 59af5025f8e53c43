//! Events.

use bootgate_api::{BootMode, UnixMicros};
use bootgate_events::{AttemptId, Event, EventBody, EventKind, RunId, Verdict};

use super::{Make, event, mac, named_checks};
use crate::{NewAttempt, Store};

named_checks! {
    events_come_back_as_they_were,
    events_are_in_order_of_seq,
    events_are_read_in_pages,
    an_event_is_there_once,
    one_batch_has_events_of_several_attempts,
    events_of_unknown_runs_are_left_out,
}

fn open(store: &dyn Store, last: u8) -> AttemptId {
    let new = NewAttempt {
        mac: mac(last),
        boot: BootMode::Local,
        local: false,
        expected: None,
        at: UnixMicros(1),
    };
    store.open_attempt(&new).expect("open").id
}

fn all(store: &dyn Store, id: &AttemptId) -> Vec<Event> {
    store.events(id, 0, usize::MAX).expect("events")
}

fn events_come_back_as_they_were(make: Make<'_>) {
    let store = make();
    let id = open(&*store, 1);
    let known = Event {
        attempt: None,
        body: EventBody::Known(EventKind::RunFinished {
            verdict: Verdict::Passed,
        }),
        ..event(&id, 1, "x")
    };
    let events = [event(&id, 0, "of-a-newer-version"), known];
    store.append_events(&events).expect("append");
    assert_eq!(all(&*store, &id), events);
}

fn events_are_in_order_of_seq(make: Make<'_>) {
    let store = make();
    let id = open(&*store, 1);
    let at = |seq| event(&id, seq, "x");
    store
        .append_events(&[at(10), at(2), at(300)])
        .expect("append");
    store.append_events(&[at(9)]).expect("append");
    assert_eq!(all(&*store, &id), [at(2), at(9), at(10), at(300)]);
}

fn events_are_read_in_pages(make: Make<'_>) {
    let store = make();
    let id = open(&*store, 1);
    let events: Vec<_> = (0..10).map(|seq| event(&id, seq, "x")).collect();
    store.append_events(&events).expect("append");
    let page = |from, limit| store.events(&id, from, limit).expect("events");
    assert_eq!(page(0, 3), events[..3]);
    assert_eq!(page(3, 3), events[3..6]);
    assert_eq!(page(9, 3), events[9..]);
    assert_eq!(page(10, 3), []);
    assert_eq!(page(0, 0), []);
}

fn an_event_is_there_once(make: Make<'_>) {
    let store = make();
    let id = open(&*store, 1);
    let first = event(&id, 0, "first");
    store
        .append_events(std::slice::from_ref(&first))
        .expect("append");
    let other = event(&id, 0, "second");
    let next = event(&id, 1, "third");
    store
        .append_events(&[other, next.clone(), next.clone()])
        .expect("append");
    assert_eq!(all(&*store, &id), [first, next]);
}

fn one_batch_has_events_of_several_attempts(make: Make<'_>) {
    let store = make();
    let (one, two) = (open(&*store, 1), open(&*store, 2));
    let events = [
        event(&one, 0, "x"),
        event(&two, 0, "y"),
        event(&one, 1, "x"),
    ];
    store.append_events(&events).expect("append");
    assert_eq!(all(&*store, &one), [events[0].clone(), events[2].clone()]);
    assert_eq!(all(&*store, &two), [events[1].clone()]);
    store.append_events(&[]).expect("append nothing");
}

fn events_of_unknown_runs_are_left_out(make: Make<'_>) {
    let store = make();
    let id = open(&*store, 1);
    let unknown = AttemptId::new("a0000000099");
    let strange = Event {
        run: RunId::new("20261121-demo"),
        ..event(&id, 1, "x")
    };
    let kept = event(&id, 0, "x");
    store
        .append_events(&[event(&unknown, 0, "x"), strange, kept.clone()])
        .expect("append");
    assert_eq!(all(&*store, &unknown), []);
    assert_eq!(all(&*store, &id), [kept]);
}
