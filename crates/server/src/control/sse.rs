//! Every event of every attempt as server-sent events, which a reader can go on with after it was cut off.
//!
//! What a reader has is told by the `id` of the last event it got (the standard's `Last-Event-ID`): the number of the
//! first attempt it heard nothing of, and of each attempt that has no verdict, the first event it did not get. So
//! what is stored is neither lost nor told twice, also when the server was restarted meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::response::Response;
use bootgate_api::{Attempt, UnixMicros};
use bootgate_events::{AttemptId, Event, EventKind, MacAddr};
use bootgate_store::rules::{attempt_id, attempt_row};
use bootgate_store::{AttemptFilter, Store, StoreError};
use tokio::sync::broadcast::error::RecvError;

use super::follow::{BATCH, Form, Live, Out, Over, answer, beats};
use super::{Control, blocking};
use crate::lab::now;

/// Attempts read from the storage at once.
const PAGE: usize = 256;

/// Attempts in a cursor at most: as many machines as boot at once in the largest lab.
const OPEN_MAX: usize = 16_384;

/// What a reader has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The first attempt that it heard nothing of.
    next: u64,
    /// Attempts before that one without a verdict, each with its first event that the reader lacks.
    open: BTreeMap<u64, u64>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.next)?;
        for (attempt, seq) in &self.open {
            write!(f, ",{attempt}.{seq}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(',');
        let next = words.next().and_then(|word| word.parse().ok()).ok_or(())?;
        let mut open = BTreeMap::new();
        for word in words {
            let (attempt, seq) = word.split_once('.').ok_or(())?;
            let (attempt, seq) = (attempt.parse().map_err(drop)?, seq.parse().map_err(drop)?);
            if attempt >= next || open.len() >= OPEN_MAX {
                return Err(());
            }
            open.insert(attempt, seq);
        }
        Ok(Self { next, open })
    }
}

impl Cursor {
    /// That of a reader who wants what happens from now on, of this machine or of all.
    fn now(store: &dyn Store, mac: Option<MacAddr>) -> Result<Self, StoreError> {
        let mut cursor = Self {
            next: end(store)?,
            open: BTreeMap::new(),
        };
        let open = AttemptFilter {
            mac,
            open: true,
            limit: OPEN_MAX,
            ..AttemptFilter::default()
        };
        for attempt in store.attempts(&open)? {
            if let Some(number) = attempt_row(&attempt.id) {
                cursor.open.insert(number, behind(store, &attempt.id)?);
            }
        }
        Ok(cursor)
    }

    /// Counts an event as told.
    fn told(&mut self, number: u64, event: &Event) {
        if matches!(event.kind(), Some(EventKind::RunFinished { .. })) {
            self.open.remove(&number);
        } else {
            self.open.insert(number, event.seq + 1);
        }
    }
}

/// The number behind that of the last attempt.
fn end(store: &dyn Store) -> Result<u64, StoreError> {
    let last = AttemptFilter {
        limit: 1,
        ..AttemptFilter::default()
    };
    let last = store.attempts(&last)?;
    let number = last.first().and_then(|last| attempt_row(&last.id));
    Ok(number.map_or(0, |number| number + 1))
}

/// The number behind that of the attempt's last event, found without reading all of them.
fn behind(store: &dyn Store, id: &AttemptId) -> Result<u64, StoreError> {
    let there = |from: u64| Ok::<_, StoreError>(!store.events(id, from, 1)?.is_empty());
    let (mut low, mut high) = (0, 1);
    while there(high)? {
        low = high;
        high = high.saturating_mul(2);
        if high >= u64::MAX >> 1 {
            return Ok(high);
        }
    }
    // Something is at `low` or behind it, or nothing at all; nothing is at `high` or behind it.
    while low < high {
        let middle = low + (high - low) / 2;
        if there(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// What happens to one machine or to all, from where the reader left off or from now on.
pub(super) async fn all(
    control: Arc<Control>,
    mac: Option<MacAddr>,
    live: Live,
    cursor: Option<Cursor>,
) -> Result<Response, super::Refusal> {
    let cursor = match cursor {
        Some(cursor) => cursor,
        None => {
            let read = move |control: &Control| Ok(Cursor::now(&*control.store, mac)?);
            blocking(Arc::clone(&control), read).await?
        }
    };
    let (out, response) = answer(Form::Stream);
    let teller = Teller {
        control,
        mac,
        cursor,
        out,
    };
    tokio::spawn(async move {
        // Over: nobody listens any more.
        let _ = teller.tell(live).await;
    });
    Ok(response)
}

struct Teller {
    control: Arc<Control>,
    mac: Option<MacAddr>,
    cursor: Cursor,
    out: Out,
}

impl Teller {
    async fn tell(mut self, mut live: Live) -> Result<(), Over> {
        // The reader learns at once where it begins, so that it misses nothing when it is cut off before the first event.
        self.out.begin(&self.cursor.to_string()).await?;
        self.stored().await?;
        let mut beats = beats();
        loop {
            let event = tokio::select! {
                event = live.recv() => event,
                _ = beats.tick() => {
                    self.out.beat().await?;
                    continue;
                }
                () = self.out.closed() => return Err(Over),
            };
            match event {
                Ok((id, event)) => self.happened(&id, &event).await?,
                Err(RecvError::Lagged(_)) => self.stored().await?,
                Err(RecvError::Closed) => return Err(Over),
            }
        }
    }

    async fn happened(&mut self, id: &AttemptId, event: &Event) -> Result<(), Over> {
        let Some(number) = attempt_row(id) else {
            return Ok(());
        };
        if number >= self.cursor.next {
            // What is between is told by the storage, and so is this.
            return self.stored().await;
        }
        match self.cursor.open.get(&number).copied() {
            Some(next) if event.seq == next => self.event(number, event).await,
            Some(next) if event.seq > next => self.stored_of(number, next).await,
            _ => Ok(()),
        }
    }

    /// Tells what the storage has and was not told yet.
    async fn stored(&mut self) -> Result<(), Over> {
        let open: Vec<_> = self
            .cursor
            .open
            .iter()
            .map(|(number, next)| (*number, *next))
            .collect();
        for (number, next) in open {
            self.stored_of(number, next).await?;
        }
        let (from, mac) = (self.cursor.next, self.mac);
        let read = blocking(Arc::clone(&self.control), move |control| {
            Ok(since(&*control.store, from, mac)?)
        });
        let Ok((end, new)) = read.await else {
            return Err(Over);
        };
        // Each is in the cursor before the first event of any is told.
        self.cursor.next = end;
        self.cursor
            .open
            .extend(new.iter().map(|number| (*number, 0)));
        for number in new {
            self.stored_of(number, 0).await?;
        }
        Ok(())
    }

    async fn stored_of(&mut self, number: u64, mut next: u64) -> Result<(), Over> {
        loop {
            let id = attempt_id(number);
            let read = blocking(Arc::clone(&self.control), move |control| {
                let events = control.store.events(&id, next, BATCH)?;
                let over = events.is_empty() && is_over(control.store.attempt(&id)?.as_ref());
                Ok((events, over))
            });
            let Ok((events, over)) = read.await else {
                return Err(Over);
            };
            for event in &events {
                next = event.seq + 1;
                self.event(number, event).await?;
            }
            if over {
                // Forgotten, or it had its verdict before.
                self.cursor.open.remove(&number);
            }
            if events.len() < BATCH {
                return Ok(());
            }
        }
    }

    async fn event(&mut self, number: u64, event: &Event) -> Result<(), Over> {
        self.cursor.told(number, event);
        let id = self.cursor.to_string();
        self.out.event(&id, event).await
    }
}

/// Whether nothing more can come of an attempt: it is forgotten, or its verdict is so old that it would have been told.
fn is_over(attempt: Option<&Attempt>) -> bool {
    let late = |finished: UnixMicros| finished.plus_seconds(60) < now();
    attempt.is_none_or(|attempt| attempt.finished.is_some_and(late))
}

/// The attempts from number `from` on, the first one first, and the number behind the last of all.
fn since(
    store: &dyn Store,
    from: u64,
    mac: Option<MacAddr>,
) -> Result<(u64, Vec<u64>), StoreError> {
    let end = end(store)?;
    let mut numbers = Vec::new();
    let mut before = None;
    if from >= end {
        return Ok((end, numbers));
    }
    loop {
        let page = AttemptFilter {
            mac,
            before: before.take(),
            limit: PAGE,
            ..AttemptFilter::default()
        };
        let page = store.attempts(&page)?;
        let new = page.iter().filter_map(|attempt| attempt_row(&attempt.id));
        let new: Vec<_> = new.take_while(|number| *number >= from).collect();
        let whole = new.len() == PAGE;
        numbers.extend(new);
        match page.last() {
            Some(last) if whole => before = Some(last.id.clone()),
            _ => break,
        }
    }
    // One that opened since belongs to the next look.
    numbers.retain(|number| *number < end);
    numbers.reverse();
    Ok((end, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for text in ["0", "7", "15,12.34,13.5"] {
            let cursor: Cursor = text.parse().expect(text);
            assert_eq!(cursor.to_string(), text);
        }
        for text in ["", "x", "-1", "5,9.1", "5,3", "5,3.", "5,,", "5;3.1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
