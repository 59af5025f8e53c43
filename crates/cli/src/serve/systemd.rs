//! What a service manager is told (sd_notify(3)). Without one, nobody is.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("tell the service manager: {error}");
    }
}

/// The server serves.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again; [`ready`] comes after. The time is what tells the manager that this is the answer to
/// the signal it sent.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// It stops, within this time and a little more.
pub(super) fn stopping(within: Duration) {
    let most = within.saturating_add(Duration::from_secs(30));
    let micros = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping"),
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// How often the manager wants to hear that the server is well; `None` where it does not.
pub(super) fn watchdog() -> Option<Duration> {
    let most = sd_notify::watchdog_enabled()?;
    // Twice in the time, as sd_watchdog_enabled(3) says.
    Some(most / 2)
}

/// The server is well.
pub(super) fn well() {
    tell(&[NotifyState::Watchdog]);
}
