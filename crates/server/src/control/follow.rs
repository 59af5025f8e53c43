//! Events as lines of JSON, as long as there are more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bootgate_api::control::JSON_LINES;
use bootgate_events::{AttemptId, Event, EventKind, MacAddr};
use http_body::Frame;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::{Control, blocking};

/// Events read from the storage at once.
const BATCH: usize = 256;
/// Lines that wait for a slow reader; behind them the storage waits.
const WAITING: usize = 64;

type Live = Receiver<(AttemptId, Event)>;

/// The events of an attempt from number `from` on, then those that come, until the attempt has its verdict. What the
/// listener lost is in the storage.
pub(super) fn attempt(
    control: Arc<Control>,
    id: AttemptId,
    from: u64,
    live: Option<Live>,
) -> Response {
    let (lines, waiting) = mpsc::channel(WAITING);
    let teller = Teller {
        control,
        id,
        next: from,
        lines,
    };
    tokio::spawn(teller.tell(live));
    answer(waiting)
}

struct Teller {
    control: Arc<Control>,
    id: AttemptId,
    next: u64,
    lines: mpsc::Sender<Bytes>,
}

/// Nothing more is to be told: the attempt ended, or nobody listens any more.
struct Over;

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
        loop {
            let event = tokio::select! {
                event = live.recv() => event,
                () = self.lines.closed() => return Err(Over),
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
        send(&self.lines, event).await?;
        match event.kind() {
            Some(EventKind::RunFinished { .. }) => Err(Over),
            _ => Ok(()),
        }
    }
}

/// What happens from now on, to one machine or to all.
pub(super) fn all(control: Arc<Control>, mac: Option<MacAddr>, live: Live) -> Response {
    let (lines, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        // Over: nobody listens any more.
        let _ = tell_of_all(control, mac, live, lines).await;
    });
    answer(waiting)
}

async fn tell_of_all(
    control: Arc<Control>,
    mac: Option<MacAddr>,
    mut live: Live,
    lines: mpsc::Sender<Bytes>,
) -> Result<(), Over> {
    let mut machines: HashMap<AttemptId, bool> = HashMap::new();
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = lines.closed() => return Err(Over),
        };
        let (id, event) = match event {
            Ok(told) => told,
            Err(RecvError::Lagged(lost)) => {
                send(&lines, &serde_json::json!({ "lost": lost })).await?;
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
            send(&lines, &event).await?;
        }
        if matches!(event.kind(), Some(EventKind::RunFinished { .. })) {
            machines.remove(&id);
        }
    }
}

async fn send(lines: &mpsc::Sender<Bytes>, value: &impl Serialize) -> Result<(), Over> {
    let Ok(mut line) = serde_json::to_vec(value) else {
        return Ok(());
    };
    line.push(b'\n');
    lines.send(line.into()).await.map_err(|_| Over)
}

fn answer(waiting: mpsc::Receiver<Bytes>) -> Response {
    let mut response = Response::new(Body::new(Lines(waiting)));
    let lines = HeaderValue::from_static(JSON_LINES);
    response.headers_mut().insert(CONTENT_TYPE, lines);
    response
}

/// A body of lines that are not there yet.
struct Lines(mpsc::Receiver<Bytes>);

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.0.poll_recv(context);
        line.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
