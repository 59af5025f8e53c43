//! What can happen in a run.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ArtifactRole, ByteRange, DeadlineKind, DhcpFacts, DiskProofKind, FaultAction, FlashPhase,
    HostFacts, MacAddr, PowerCause, Protocol, Stage, TargetFacts, Verdict, VerdictRules,
};

macro_rules! event_kinds {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal { $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => {
        /// What happened. Named in the past tense; every variant carries only data.
        ///
        /// *Facts* come from the world (packets, console bytes, processes, clocks). *Conclusions* are drawn by
        /// the verdict fold from the facts before them; a replay draws them again and must get the same ones.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum EventKind {
            $( $(#[$doc])* #[serde(rename = $name)] $variant { $( $(#[$fdoc])* $field: $ty ),* }, )*
        }

        impl EventKind {
            /// The names of all kinds of this schema version.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name of this kind, as the log spells it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $( EventKind::$variant { .. } => $name, )* }
            }
        }
    };
}

event_kinds! {
    /// The first event of a log: everything the fold needs to judge what follows.
    RunStarted = "run-started" {
        /// Name of the scenario.
        scenario: String,
        /// Version of bootgate that wrote the log.
        version: String,
        /// What the host is.
        host: HostFacts,
        /// The targets, in the scenario's order.
        targets: Vec<TargetFacts>,
        /// The rules the verdict is made by, deadlines already scaled.
        rules: VerdictRules,
    }
    /// The last event of a log (conclusion).
    RunFinished = "run-finished" {
        /// The run's verdict.
        verdict: Verdict,
    }
    /// The layer-2 network is up.
    SegmentReady = "segment-ready" {
        /// Bridge or interface.
        interface: String,
        /// `bridge` or `interface`.
        mode: String,
        /// The servers' address on it.
        address: IpAddr,
    }
    /// A server answers on its socket.
    ServerReady = "server-ready" {
        /// `dhcp`, `tftp`, `http` or `ra`.
        service: String,
        /// Where it listens.
        address: String,
    }
    /// A server could not go on; other services do.
    ServerFailed = "server-failed" {
        /// `dhcp`, `tftp`, `http` or `ra`.
        service: String,
        /// What went wrong.
        error: String,
    }
    /// The target's console is attached; bytes follow.
    ConsoleAttached = "console-attached" {
        /// Where it comes from: a socket or a tty.
        source: String,
    }
    /// Console bytes came in and stand in `console/NAME.log`.
    ConsoleChunk = "console-chunk" {
        /// Offset of the first byte in the console log.
        offset: u64,
        /// Number of bytes.
        len: u64,
    }
    /// The console ended.
    ConsoleClosed = "console-closed" {
        /// Why, where it is known.
        reason: String,
    }
    /// The target is powered on.
    PoweredOn = "powered-on" {
        /// Whether it may boot from the network (`network`) or only from its disk (`disk`).
        boot: String,
    }
    /// The target is powered off.
    PoweredOff = "powered-off" {
        /// Who did it.
        cause: PowerCause,
    }
    /// The target was reset without losing power.
    WasReset = "was-reset" {
        /// Who did it.
        cause: PowerCause,
    }
    /// QEMU was started.
    QemuStarted = "qemu-started" {
        /// Its program and arguments.
        argv: Vec<String>,
    }
    /// QEMU wrote a line to its standard error.
    QemuStderr = "qemu-stderr" {
        /// The line, lossy text.
        line: String,
    }
    /// QEMU ended.
    QemuExited = "qemu-exited" {
        /// Exit status, where it exited.
        code: Option<i32>,
        /// Signal number, where it was killed.
        signal: Option<i32>,
        /// Whether the harness had asked it to end.
        expected: bool,
    }
    /// QMP told of something that has no kind of its own.
    QmpNotified = "qmp-notified" {
        /// QMP's name of the event.
        name: String,
    }
    /// A DHCP message came in.
    DhcpReceived = "dhcp-received" {
        /// The client's hardware address.
        mac: MacAddr,
        /// What it said.
        facts: DhcpFacts,
    }
    /// A DHCP message went out.
    DhcpSent = "dhcp-sent" {
        /// The client's hardware address.
        mac: MacAddr,
        /// What we said.
        facts: DhcpFacts,
        /// Why the client gets this reply, in words.
        reason: String,
    }
    /// A packet was not answered.
    PacketDropped = "packet-dropped" {
        /// `dhcp`, `tftp`, `http` or `ra`.
        service: String,
        /// Why.
        reason: String,
    }
    /// A router solicitation was answered.
    RouterAdvertised = "router-advertised" {
        /// Who asked.
        mac: MacAddr,
    }
    /// A client asked for a file and gets it.
    TransferStarted = "transfer-started" {
        /// Number of the transfer in this run.
        id: u64,
        /// How it is fetched.
        protocol: Protocol,
        /// What it is for.
        role: ArtifactRole,
        /// The path asked for.
        path: String,
        /// The client's address.
        peer: IpAddr,
        /// Bytes that will be sent, where known.
        size: Option<u64>,
        /// The options or the range agreed on, in words.
        detail: String,
    }
    /// A transfer moved on; sent at most a few times a second.
    TransferProgressed = "transfer-progressed" {
        /// Number of the transfer in this run.
        id: u64,
        /// Bytes the client has acknowledged (TFTP) or that were handed to the kernel (HTTP).
        bytes: u64,
    }
    /// A transfer ended with everything sent.
    TransferCompleted = "transfer-completed" {
        /// Number of the transfer in this run.
        id: u64,
        /// What it was for.
        role: ArtifactRole,
        /// The path asked for.
        path: String,
        /// Bytes sent, without retransmissions.
        bytes: u64,
    }
    /// A transfer ended early.
    TransferAborted = "transfer-aborted" {
        /// Number of the transfer in this run.
        id: u64,
        /// What it was for.
        role: ArtifactRole,
        /// The path asked for.
        path: String,
        /// Bytes sent until then.
        bytes: u64,
        /// Why: the client's ERROR, a timeout, a closed connection.
        reason: String,
        /// Whether firmware does this on healthy boots (a size probe ended by ERROR 8).
        benign: bool,
    }
    /// A request was refused.
    RequestRefused = "request-refused" {
        /// How it was asked.
        protocol: Protocol,
        /// What it would have been for.
        role: ArtifactRole,
        /// The path asked for.
        path: String,
        /// The client's address.
        peer: IpAddr,
        /// HTTP status or TFTP error code.
        code: u16,
        /// Why.
        reason: String,
    }
    /// The machine's boot script was handed out, with a nonce in it.
    ScriptServed = "script-served" {
        /// The machine.
        mac: MacAddr,
        /// How often this attempt's script was fetched before.
        earlier: u32,
    }
    /// A contact opened this attempt; it is in the log of a machine's boot, behind the rules.
    AttemptOpened = "attempt-opened" {
        /// The machine.
        mac: MacAddr,
        /// Its boot mode.
        mode: String,
        /// Why this is a new attempt and not the one before, in words.
        reason: String,
    }
    /// A machine that was not known made contact.
    MachineDiscovered = "machine-discovered" {
        /// Its hardware address.
        mac: MacAddr,
        /// The boot mode it was given.
        mode: String,
    }
    /// A machine was handed back to its firmware, to boot its disk.
    LocalBootServed = "local-boot-served" {
        /// The machine.
        mac: MacAddr,
        /// How: `exit`, `sanboot 0x80`, `no bootfile`, or the loader's own words for it.
        how: String,
    }
    /// A machine may not boot what its mode says, and is told so instead.
    BootRefused = "boot-refused" {
        /// The machine.
        mac: MacAddr,
        /// Why: a half-written disk, too many flashes that failed.
        reason: String,
    }
    /// The agent sent what the machine is made of.
    InventoryReceived = "inventory-received" {
        /// The machine.
        mac: MacAddr,
        /// Processor, memory, disks and interfaces in one line.
        summary: String,
    }
    /// The installer called back.
    InstallReported = "install-reported" {
        /// Whether it says that it is done.
        succeeded: bool,
        /// What it says.
        message: String,
    }
    /// A DHCP server that is not ours was noticed on the segment.
    DhcpServerSeen = "dhcp-server-seen" {
        /// Its address (option 54).
        address: IpAddr,
        /// Its hardware address, where the frame was seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mac: Option<MacAddr>,
        /// The interface it was noticed on.
        interface: String,
        /// What gave it away.
        by: String,
    }
    /// The agent asked for its plan.
    AgentStarted = "agent-started" {
        /// Version of the agent.
        version: String,
        /// Milliseconds from the start of PID 1 to this call, by the agent's clock.
        since_pid1_ms: u64,
    }
    /// The agent moved on.
    AgentProgressed = "agent-progressed" {
        /// What it does.
        phase: FlashPhase,
        /// Bytes done in this phase.
        done: u64,
        /// Bytes to do in this phase.
        total: u64,
    }
    /// The agent wrote the image and read it back.
    AgentFlashed = "agent-flashed" {
        /// Digest over the chunks read back, as the chunk index defines `chunks_sha256`, hexadecimal.
        chunks_sha256: String,
        /// The ranges that were read back.
        ranges: Vec<ByteRange>,
        /// Bytes fetched from the server (compressed).
        bytes_fetched: u64,
        /// Bytes written to the disk.
        bytes_written: u64,
        /// Milliseconds from the start of PID 1 to the first image bytes asked for.
        first_fetch_ms: u64,
    }
    /// The agent could not go on.
    AgentFailed = "agent-failed" {
        /// The stage it was in.
        stage: Stage,
        /// What went wrong.
        error: String,
    }
    /// A callback with a nonce that is not the attempt's was refused.
    StaleCallback = "stale-callback" {
        /// The nonce it came with.
        nonce: String,
        /// What was called.
        path: String,
    }
    /// The disk was compared with the image.
    DiskCompared = "disk-compared" {
        /// Who compared.
        proof: DiskProofKind,
        /// Whether all bytes are equal.
        equal: bool,
        /// Offset of the first difference.
        first_difference: Option<u64>,
        /// The ranges compared.
        ranges: Vec<ByteRange>,
        /// SHA-256 of the image, hexadecimal.
        image_sha256: String,
        /// SHA-256 of the disk over the ranges, hexadecimal; equal digests where `equal`.
        disk_sha256: String,
    }
    /// A fault rule of the scenario was applied.
    FaultInjected = "fault-injected" {
        /// What was done.
        action: FaultAction,
        /// To what.
        what: String,
    }
    /// A prompt on the console was answered.
    KeysTyped = "keys-typed" {
        /// The rule's name.
        name: String,
        /// What was typed.
        keys: String,
    }
    /// A deadline of the fold expired.
    DeadlineExpired = "deadline-expired" {
        /// Which.
        deadline: DeadlineKind,
        /// The stage it expired in.
        stage: Stage,
        /// Its length in milliseconds.
        limit_ms: u64,
    }
    /// Something of the host failed, so that nothing can be said about the target.
    InfraFailed = "infra-failed" {
        /// Short name: `qemu-missing`, `qemu-killed`, `disk-full`, `port-taken`, `kvm-error`, ...
        what: String,
        /// What happened.
        error: String,
        /// What to do.
        hint: String,
    }
    /// The run was told to stop.
    Interrupted = "interrupted" {
        /// The signal's name.
        signal: String,
    }
    /// The host has not what the run needs, and nothing was tried.
    RunSkipped = "run-skipped" {
        /// What is missing.
        reason: String,
    }
    /// A stage began; the one before ended (conclusion).
    StageEntered = "stage-entered" {
        /// The new stage.
        stage: Stage,
        /// What moved the attempt on, in words.
        by: String,
    }
    /// An expected marker was seen (conclusion).
    MarkerMatched = "marker-matched" {
        /// Its name.
        name: String,
        /// Offset in the console log of the chunk's end in which it was completed.
        offset: u64,
        /// The line, cleaned.
        line: String,
    }
    /// A forbidden marker was seen in a stage where it is fatal (conclusion).
    ForbiddenMatched = "forbidden-matched" {
        /// Its name.
        name: String,
        /// The stage.
        stage: Stage,
        /// The line, cleaned.
        line: String,
    }
    /// The target's verdict is known (conclusion).
    VerdictReached = "verdict-reached" {
        /// The verdict.
        verdict: Verdict,
    }
}
