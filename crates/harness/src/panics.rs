//! A panic anywhere in the process is a fault of bootgate, and never a verdict about what boots.

use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use bootgate_events::EventKind;
use tokio::sync::watch;

use crate::HarnessError;

/// Where the first panic was and what it said.
static PANICKED: LazyLock<watch::Sender<Option<String>>> =
    LazyLock::new(|| watch::Sender::new(None));

/// From now on a panic in any thread or task of the process ends all runs as faults of the infrastructure, beside what
/// the panic hook did before. A task that is lost would only be noticed by a deadline otherwise, and taken for a failure
/// of the target.
pub fn end_runs_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(describe(panic));
            }
            first
        });
        before(panic);
    }));
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic without a text",
    };
    match panic.location() {
        Some(place) => format!("{text} ({}:{})", place.file(), place.line()),
        None => text.to_owned(),
    }
}

/// Waits for a panic. Does not end where there is none.
pub(crate) async fn panicked() -> EventKind {
    let mut told = PANICKED.subscribe();
    // The guard of the value must not be held while waiting below.
    let text = told
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|text| text.clone());
    let Some(text) = text else {
        // The sender is never dropped.
        return std::future::pending().await;
    };
    HarnessError::infra(
        "bootgate-panicked",
        format!("a part of bootgate panicked: {text}"),
        "this is a fault of bootgate: report it with the run folder",
    )
    .to_event()
}
