//! Events, as long as there are more: as lines of JSON, or as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bootgate_api::control::{EVENT_STREAM, JSON_LINES};
use bootgate_events::{AttemptId, Event, EventKind, MacAddr};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::Interval;

use super::{Control, blocking};

/// Events read from the storage at once.
pub(super) const BATCH: usize = 256;
/// Lines that wait for a slow reader; behind them the storage waits.
const WAITING: usize = 64;
/// How long a reader of server-sent events may leave them waiting.
const SLOW: Duration = Duration::from_secs(20);
/// How often a reader of server-sent events hears that the server is there.
const BEAT: Duration = Duration::from_secs(10);
/// After how many milliseconds a reader that was cut off comes again.
const RETRY_MS: u32 = 1000;

pub(super) type Live = Receiver<(AttemptId, Event)>;

/// How events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON value on each line.
    Lines,
    /// Server-sent events (HTML Living Standard, section 9.2).
    Stream,
}

impl Form {
    /// What a request asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter();
        let mut words = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|word| word.split(';').next());
        match words.any(|word| word.trim().eq_ignore_ascii_case(EVENT_STREAM)) {
            true => Form::Stream,
            false => Form::Lines,
        }
    }
}

/// When a reader hears that the server is there.
pub(super) fn beats() -> Interval {
    let start = tokio::time::Instant::now() + BEAT;
    tokio::time::interval_at(start, BEAT)
}

/// The events of an attempt from number `from` on, then those that come, until the attempt has its verdict. What the
/// listener lost is in the storage.
pub(super) fn attempt(
    control: Arc<Control>,
    id: AttemptId,
    from: u64,
    live: Option<Live>,
    form: Form,
) -> Response {
    let (out, response) = answer(form);
    let teller = Teller {
        control,
        id,
        next: from,
        out,
    };
    tokio::spawn(teller.tell(live));
    response
}

/// Says to a reader of server-sent events that nothing more will come: it does not try again.
pub(super) fn no_more() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

struct Teller {
    control: Arc<Control>,
    id: AttemptId,
    next: u64,
    out: Out,
}

/// Nothing more is to be told: the attempt ended, or nobody listens any more.
pub(super) struct Over;

impl Teller {
    async fn tell(mut self, live: Option<Live>) {
        // Over or not, there is nobody left to tell of it.
        let _ = self.tell_all(live).await;
    }

    async fn tell_all(&mut self, live: Option<Live>) -> Result<(), Over> {
        self.stored().await?;
        let Some(mut live) = live else {
            return Ok(());
        };
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
                Ok((id, event)) if id == self.id => {
                    if event.seq > self.next {
                        self.stored().await?;
                    }
                    if event.seq >= self.next {
                        self.event(&event).await?;
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.stored().await?,
                Err(RecvError::Closed) => return Err(Over),
            }
        }
    }

    /// Tells what the storage has and was not told yet.
    async fn stored(&mut self) -> Result<(), Over> {
        loop {
            let (id, from) = (self.id.clone(), self.next);
            let control = Arc::clone(&self.control);
            let read = blocking(control, move |control| {
                Ok(control.store.events(&id, from, BATCH)?)
            });
            let Ok(events) = read.await else {
                return Err(Over);
            };
            for event in &events {
                self.event(event).await?;
            }
            if events.len() < BATCH {
                return Ok(());
            }
        }
    }

    async fn event(&mut self, event: &Event) -> Result<(), Over> {
        self.next = event.seq + 1;
        self.out.event(&event.seq.to_string(), event).await?;
        match event.kind() {
            Some(EventKind::RunFinished { .. }) => Err(Over),
            _ => Ok(()),
        }
    }
}

/// What happens from now on, to one machine or to all, as lines.
pub(super) fn all(control: Arc<Control>, mac: Option<MacAddr>, live: Live) -> Response {
    let (out, response) = answer(Form::Lines);
    tokio::spawn(async move {
        // Over: nobody listens any more.
        let _ = tell_of_all(control, mac, live, out).await;
    });
    response
}

async fn tell_of_all(
    control: Arc<Control>,
    mac: Option<MacAddr>,
    mut live: Live,
    out: Out,
) -> Result<(), Over> {
    let mut machines: HashMap<AttemptId, bool> = HashMap::new();
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = out.closed() => return Err(Over),
        };
        let (id, event) = match event {
            Ok(told) => told,
            Err(RecvError::Lagged(lost)) => {
                out.event("", &serde_json::json!({ "lost": lost })).await?;
                continue;
            }
            Err(RecvError::Closed) => return Err(Over),
        };
        let wanted = match (mac, machines.get(&id)) {
            (None, _) => true,
            (Some(_), Some(wanted)) => *wanted,
            (Some(mac), None) => {
                let asked = id.clone();
                let found = blocking(Arc::clone(&control), move |control| {
                    Ok(control.store.attempt(&asked)?)
                });
                let wanted = matches!(found.await, Ok(Some(attempt)) if attempt.mac == mac);
                machines.insert(id.clone(), wanted);
                wanted
            }
        };
        if wanted {
            out.event("", &event).await?;
        }
        if matches!(event.kind(), Some(EventKind::RunFinished { .. })) {
            machines.remove(&id);
        }
    }
}

/// The writing side of an answer.
pub(super) struct Out {
    form: Form,
    lines: mpsc::Sender<Bytes>,
    /// What is said behind all lines, where the answer is broken off.
    last: Arc<OnceLock<Bytes>>,
}

impl Out {
    /// Tells an event; a reader of server-sent events has this id when it got it.
    pub(super) async fn event(&self, id: &str, value: &impl Serialize) -> Result<(), Over> {
        let Ok(mut text) = serde_json::to_string(value) else {
            return Ok(());
        };
        match self.form {
            Form::Lines => text.push('\n'),
            // JSON as it is written here has no line ends in it.
            Form::Stream => text = format!("id: {id}\ndata: {text}\n\n"),
        }
        self.send(text).await
    }

    /// Says where a reader begins that has nothing yet.
    pub(super) async fn begin(&self, id: &str) -> Result<(), Over> {
        // An event without data sets the id and is not handed to the page.
        self.send(format!("retry: {RETRY_MS}\nid: {id}\n\n")).await
    }

    /// Says that the server is there. Readers of lines hear nothing of it.
    pub(super) async fn beat(&self) -> Result<(), Over> {
        match self.form {
            Form::Lines => Ok(()),
            Form::Stream => self.send(": still here\n\n".to_owned()).await,
        }
    }

    async fn send(&self, text: String) -> Result<(), Over> {
        let sending = self.lines.send(text.into());
        if self.form == Form::Lines {
            return sending.await.map_err(|_| Over);
        }
        match tokio::time::timeout(SLOW, sending).await {
            Ok(sent) => sent.map_err(|_| Over),
            Err(_) => {
                let why = serde_json::json!({
                    "error": format!("the events were not read for {} seconds", SLOW.as_secs()),
                    "hint": "ask again with Last-Event-ID for the rest",
                });
                // Told once: the answer ends here.
                let _ = self
                    .last
                    .set(format!("event: dropped\ndata: {why}\n\n").into());
                Err(Over)
            }
        }
    }

    /// Until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.lines.closed().await;
    }
}

/// An answer, and where to write it.
pub(super) fn answer(form: Form) -> (Out, Response) {
    let (lines, waiting) = mpsc::channel(WAITING);
    let last = Arc::default();
    let body = Lines {
        waiting,
        last: Arc::clone(&last),
        over: false,
    };
    let mut response = Response::new(Body::new(body));
    let kind = match form {
        Form::Lines => JSON_LINES,
        Form::Stream => EVENT_STREAM,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (Out { form, lines, last }, response)
}

/// A body of lines that are not there yet.
struct Lines {
    waiting: mpsc::Receiver<Bytes>,
    last: Arc<OnceLock<Bytes>>,
    over: bool,
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let line = self.waiting.poll_recv(context);
        line.map(|line| {
            let line = line.or_else(|| {
                self.over = true;
                self.last.get().cloned()
            });
            line.map(|line| Ok(Frame::data(line)))
        })
    }
}
