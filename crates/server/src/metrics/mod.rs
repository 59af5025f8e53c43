//! What the servers count, for Prometheus. No label has a machine's address or name: the number of series is bounded by
//! the configuration.

mod door;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bootgate_events::{Protocol, TargetVerdict};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use door::{MetricsServer, monitor_router};

/// Upper bounds of a stage's duration in seconds. Firmware takes seconds, a flash minutes, an installation an hour.
const STAGE_SECONDS: [f64; 11] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1200.0, 3600.0,
];

/// The counters, and how they are shown.
pub(crate) struct Metrics {
    registry: Registry,
    dhcp: IntCounterVec,
    transfers: IntCounterVec,
    transfer_bytes: IntCounterVec,
    open_transfers: IntGaugeVec,
    connections: IntGauge,
    attempts: IntCounterVec,
    stages: HistogramVec,
    storage_errors: IntCounter,
    /// What is counted elsewhere, and put here when somebody looks.
    looked_at: LookedAt,
    /// One looks at a time.
    looking: Mutex<()>,
}

struct LookedAt {
    addresses: IntGaugeVec,
    leased6: IntGaugeVec,
    dropped: IntCounterVec,
    lost_events: IntCounter,
    queues: IntGaugeVec,
    machines: IntGauge,
    open_attempts: IntGauge,
    foreign: IntGauge,
    failing: IntGaugeVec,
    ready: IntGauge,
}

/// What is put into the metrics when somebody looks.
#[derive(Default)]
pub(crate) struct Look {
    /// Subnet, size, leased, offered and quarantined addresses.
    pub(crate) subnets: Vec<bootgate_netboot::dhcp::Usage>,
    /// Prefix, leased and quarantined addresses of DHCPv6.
    pub(crate) prefixes: Vec<(String, u64, u64)>,
    /// By service and reason.
    pub(crate) dropped: BTreeMap<(String, String), u64>,
    pub(crate) lost_events: u64,
    /// By name: messages that wait.
    pub(crate) queues: Vec<(&'static str, u64)>,
    pub(crate) machines: u64,
    pub(crate) open_attempts: u64,
    pub(crate) foreign: usize,
    /// Whether storing fails, by part.
    pub(crate) failing: Vec<(&'static str, bool)>,
    pub(crate) ready: bool,
}

/// Registers a metric. All names and labels are in this file, and the test below sees each of them: what is not taken
/// would be counted and never shown.
fn keep<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<M>,
) -> Option<M> {
    let metric = made.ok()?;
    registry.register(Box::new(metric.clone())).ok()?;
    Some(metric)
}

macro_rules! counter {
    ($registry:expr, $name:expr, $help:expr, $labels:expr) => {
        keep(
            $registry,
            IntCounterVec::new(Opts::new($name, $help), &$labels),
        )?
    };
    ($registry:expr, $name:expr, $help:expr) => {
        keep($registry, IntCounter::new($name, $help))?
    };
}

macro_rules! gauge {
    ($registry:expr, $name:expr, $help:expr, $labels:expr) => {
        keep(
            $registry,
            IntGaugeVec::new(Opts::new($name, $help), &$labels),
        )?
    };
    ($registry:expr, $name:expr, $help:expr) => {
        keep($registry, IntGauge::new($name, $help))?
    };
}

impl LookedAt {
    fn new(registry: &Registry) -> Option<Self> {
        Some(Self {
            addresses: gauge!(
                registry,
                "bootgate_dhcp_addresses",
                "Addresses of a subnet by state: free, leased, offered, quarantined.",
                ["subnet", "state"]
            ),
            leased6: gauge!(
                registry,
                "bootgate_dhcp6_addresses",
                "Addresses of an IPv6 prefix by state: leased, quarantined.",
                ["subnet", "state"]
            ),
            dropped: counter!(
                registry,
                "bootgate_dropped_total",
                "Packets and requests left without an answer.",
                ["service", "reason"]
            ),
            lost_events: counter!(
                registry,
                "bootgate_lost_events_total",
                "Events that could not be kept."
            ),
            queues: gauge!(
                registry,
                "bootgate_queue_length",
                "Messages that wait to be written.",
                ["queue"]
            ),
            machines: gauge!(registry, "bootgate_machines", "Machines known."),
            open_attempts: gauge!(
                registry,
                "bootgate_open_attempts",
                "Boot attempts without a verdict."
            ),
            foreign: gauge!(
                registry,
                "bootgate_foreign_dhcp_servers",
                "Other DHCP servers that were heard of in the last day."
            ),
            failing: gauge!(
                registry,
                "bootgate_storage_failing",
                "Whether the storage failed when it was last used: 1 or 0.",
                ["part"]
            ),
            ready: gauge!(
                registry,
                "bootgate_ready",
                "Whether the server takes new machines: 1 or 0."
            ),
        })
    }

    fn set(&self, look: &Look) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.addresses.reset();
        for usage in &look.subnets {
            let taken = usage.leased + usage.offered + usage.quarantined;
            for (state, count) in [
                ("free", usage.size.saturating_sub(taken)),
                ("leased", usage.leased),
                ("offered", usage.offered),
                ("quarantined", usage.quarantined),
            ] {
                let gauge = self.addresses.with_label_values(&[&*usage.subnet, state]);
                gauge.set(number(count));
            }
        }
        self.leased6.reset();
        for (prefix, leased, quarantined) in &look.prefixes {
            for (state, count) in [("leased", leased), ("quarantined", quarantined)] {
                let gauge = self.leased6.with_label_values(&[&**prefix, state]);
                gauge.set(number(*count));
            }
        }
        for ((service, reason), count) in &look.dropped {
            let counter = self.dropped.with_label_values(&[service, reason]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let lost = &self.lost_events;
        lost.inc_by(look.lost_events.saturating_sub(lost.get()));
        for (queue, length) in &look.queues {
            self.queues.with_label_values(&[queue]).set(number(*length));
        }
        self.machines.set(number(look.machines));
        self.open_attempts.set(number(look.open_attempts));
        self.foreign
            .set(i64::try_from(look.foreign).unwrap_or(i64::MAX));
        for (part, failing) in &look.failing {
            self.failing
                .with_label_values(&[part])
                .set((*failing).into());
        }
        self.ready.set(look.ready.into());
    }
}

/// The name of a protocol as a label.
fn label(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tftp => "tftp",
        Protocol::Http => "http",
    }
}

impl Metrics {
    /// Counters that stand at 0. `None` where two have one name, which the tests exclude.
    fn made() -> Option<Self> {
        let registry = Registry::new();
        let r = &registry;
        // A host without /proc has no such figures.
        let _ = r.register(Box::new(ProcessCollector::for_self()));
        let build = gauge!(
            r,
            "bootgate_build_info",
            "The version of the program; always 1.",
            ["version"]
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Some(Self {
            dhcp: counter!(
                r,
                "bootgate_dhcp_messages_total",
                "DHCP messages by what they are, who sends them (firmware, ipxe, os), the interface's mode, and the answer.",
                ["service", "message", "client", "mode", "answer"]
            ),
            transfers: counter!(
                r,
                "bootgate_transfers_total",
                "Transfers that ended: completed, aborted by a fault, or left by the client, as loaders do that only look.",
                ["protocol", "result"]
            ),
            transfer_bytes: counter!(
                r,
                "bootgate_transfer_bytes_total",
                "Bytes of files that clients acknowledged.",
                ["protocol"]
            ),
            open_transfers: gauge!(
                r,
                "bootgate_open_transfers",
                "Transfers under way.",
                ["protocol"]
            ),
            connections: gauge!(
                r,
                "bootgate_http_connections",
                "HTTP connections that are open."
            ),
            attempts: counter!(
                r,
                "bootgate_attempts_total",
                "Boot attempts that ended, by mode and verdict.",
                ["mode", "verdict"]
            ),
            stages: keep(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "bootgate_stage_duration_seconds",
                        "How long the stages of boot attempts took.",
                    )
                    .buckets(STAGE_SECONDS.to_vec()),
                    &["stage"],
                ),
            )?,
            storage_errors: counter!(
                r,
                "bootgate_storage_errors_total",
                "Times that the storage of machines and attempts failed."
            ),
            looked_at: LookedAt::new(r)?,
            looking: Mutex::default(),
            registry,
        })
    }

    /// Counters that stand at 0.
    pub(crate) fn new() -> Option<Self> {
        let made = Self::made();
        if made.is_none() {
            tracing::error!("two metrics have one name: nothing is counted");
        }
        made
    }

    pub(crate) fn dhcp(
        &self,
        service: &str,
        message: &str,
        client: &str,
        mode: &str,
        answer: &str,
    ) {
        let labels = [service, message, client, mode, answer];
        self.dhcp.with_label_values(&labels).inc();
    }

    /// A connection that is open for as long as what is given back.
    pub(crate) fn connection(&self) -> OpenOne {
        OpenOne::new(self.connections.clone())
    }

    pub(crate) fn transfer(&self, protocol: Protocol) -> Transferring {
        let label = label(protocol);
        Transferring {
            _open: OpenOne::new(self.open_transfers.with_label_values(&[label])),
            bytes: self.transfer_bytes.with_label_values(&[label]),
        }
    }

    pub(crate) fn transferred(&self, protocol: Protocol, result: &str) {
        self.transfers
            .with_label_values(&[label(protocol), result])
            .inc();
    }

    /// An attempt that is over.
    pub(crate) fn attempt(&self, mode: &str, verdict: &TargetVerdict) {
        let word = verdict.verdict.word();
        self.attempts.with_label_values(&[mode, word]).inc();
        for span in &verdict.stages {
            let took = std::time::Duration::from_millis(span.end_ms.saturating_sub(span.start_ms));
            let seconds = took.as_secs_f64();
            let stage = span.stage.to_string();
            self.stages.with_label_values(&[&stage]).observe(seconds);
        }
    }

    pub(crate) fn storage_failed(&self) {
        self.storage_errors.inc();
    }

    /// The page that Prometheus reads, in its text format 0.0.4.
    pub(crate) fn page(&self, look: &Look) -> String {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        self.looked_at.set(look);
        let page = TextEncoder::new().encode_to_string(&self.registry.gather());
        page.unwrap_or_else(|error| {
            tracing::error!("show the metrics: {error}");
            String::new()
        })
    }
}

/// Counts one for as long as it lives.
pub(crate) struct OpenOne(IntGauge);

impl OpenOne {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenOne {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A transfer under way.
pub(crate) struct Transferring {
    _open: OpenOne,
    bytes: IntCounter,
}

impl Transferring {
    pub(crate) fn bytes(&self, more: u64) {
        self.bytes.inc_by(more);
    }
}
