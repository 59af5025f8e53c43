//! The forbidden markers that every scenario has unless it says otherwise.
//!
//! Each is fatal only where nothing healthy prints it. What healthy firmware and boot programs print was read off real
//! consoles (fixtures/transcripts): UEFI tells of a blank disk as `BdsDxe: failed to load` before it goes on to the
//! network; iPXE tells of each file it tried and did not get, but goes on where its script says so, and gives up only
//! with the lines below. iPXE's error codes differ between BIOS and UEFI builds, so its words are matched.

use bootgate_events::{ForbidRule, KeyRule, Stage};

/// From power-on until the kernel takes over.
const FIRMWARE: &[Stage] = &[Stage::Power, Stage::Firmware, Stage::Dhcp, Stage::Nbp];
/// While a boot program works. It can still fail behind the last byte of the initial RAM disk, which is `live`.
const LOADER: &[Stage] = &[
    Stage::Firmware,
    Stage::Dhcp,
    Stage::Nbp,
    Stage::Ipxe,
    Stage::Script,
    Stage::Kernel,
    Stage::Initrd,
    Stage::Live,
];
/// While a kernel may run: from `script`, for a script can load a kernel by names that the servers cannot tell.
const KERNEL: &[Stage] = &[
    Stage::Script,
    Stage::Kernel,
    Stage::Initrd,
    Stage::Live,
    Stage::Flash,
    Stage::Verify,
    Stage::DiskBoot,
];
/// While the kernel or the live environment that came over the network may run.
const LIVE: &[Stage] = &[
    Stage::Script,
    Stage::Kernel,
    Stage::Initrd,
    Stage::Live,
    Stage::Flash,
    Stage::Verify,
];
/// While the target boots from its disk.
const DISK: &[Stage] = &[Stage::DiskBoot];
/// Always.
const ANY: &[Stage] = &[
    Stage::Power,
    Stage::Firmware,
    Stage::Dhcp,
    Stage::Nbp,
    Stage::Ipxe,
    Stage::Script,
    Stage::Kernel,
    Stage::Initrd,
    Stage::Live,
    Stage::Flash,
    Stage::Verify,
    Stage::DiskBoot,
];

/// Name, pattern, stages, hint. The first that matches a line names the cause, so the particular come before the
/// general.
type Row = (&'static str, &'static str, &'static [Stage], &'static str);

const BOOT_PROGRAMS: &[Row] = &[
    (
        "ipxe-file-missing",
        r"(?:Could not (?:boot|start|select)|Nothing to boot)\b.*: (?:No such file or directory|Not found) \(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "iPXE was told a file that is not there, or was told none: look for the refused file in the log",
    ),
    (
        "ipxe-timeout",
        r"Could not (?:boot|start|select)\b.*: Connection (?:timed out|reset|refused|aborted) \(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "iPXE lost its server: packets are lost, or the server does not listen at that address",
    ),
    (
        "ipxe-not-executable",
        r"Could not (?:boot|start|select)\b.*: Exec format error \(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "what iPXE fetched is not what it can run: wrong architecture, wrong file, or an error page",
    ),
    (
        "ipxe-refused",
        r"Could not (?:boot|start|select)\b.*: (?:Permission denied|Operation not permitted|Security violation)\b.*\(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "the server or Secure Boot refused the file",
    ),
    (
        "ipxe-out-of-memory",
        r"Could not (?:boot|start|select)\b.*: (?:Not enough space|No space left|Cannot allocate memory)\b.*\(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "the target has too little memory for its kernel and initial RAM disk",
    ),
    (
        "ipxe-failed",
        r"(?:Could not (?:boot|start|select)|Nothing to boot)\b.*\(https?://ipxe\.org/[0-9a-f]{8}\)",
        LOADER,
        "iPXE gave up; the address in the line explains its error code",
    ),
    (
        "ipxe-no-address",
        r"No configuration methods succeeded|Could not configure net\d+: .*\(https?://ipxe\.org/",
        LOADER,
        "iPXE got no address: no DHCP server answered it on this segment",
    ),
    (
        "ipxe-gave-up",
        r"No more network devices",
        LOADER,
        "iPXE tried every network interface; the lines before it say why each failed",
    ),
    (
        "ipxe-shell",
        r"^iPXE> ",
        LOADER,
        "iPXE waits for a person: its script ended in a shell, or somebody pressed Ctrl-B",
    ),
    (
        "secure-boot",
        r"Secure Boot Violation|bad shim signature|Verifying shim SBAT data failed|Verification failed: \(0x1A\) Security Violation|BdsDxe: failed to (?:load|start) .*: (?:Access Denied|Security Violation)",
        ANY,
        "Secure Boot does not trust a program of the chain",
    ),
];

const FIRMWARES: &[Row] = &[
    (
        "pxe-no-offer",
        r"PXE-E(?:16|18|51)\b",
        FIRMWARE,
        "the firmware got no DHCP offer that it can use: is a server on the segment, and does the offer name a \
         bootfile for this architecture?",
    ),
    (
        "pxe-no-bootfile",
        r"PXE-E(?:23|3[256]|53|T0[0-9])\b|PXE-T0[0-9]\b",
        FIRMWARE,
        "the firmware did not get the network boot program that DHCP named",
    ),
    (
        "pxe-error",
        r"PXE-E[0-9A-F]{2}\b",
        FIRMWARE,
        "the firmware's network boot failed",
    ),
    (
        "no-bootable-device",
        r"No bootable device|No bootable option or device was found|Reboot and Select proper Boot device|Non-System disk",
        ANY,
        "the firmware has nothing left to boot: its disk is not bootable and the network boot failed or is off",
    ),
    (
        "uefi-shell",
        r"UEFI Interactive Shell",
        ANY,
        "the firmware has nothing left to boot and offers its shell",
    ),
    (
        "uefi-load-failed",
        r"BdsDxe: failed to (?:load|start) Boot[0-9A-Fa-f]{4}",
        DISK,
        "the firmware finds no boot program on the flashed disk: is there an EFI system partition with \
         \\EFI\\BOOT\\BOOTX64.EFI, and was the image made for this sector size?",
    ),
    (
        "bios-boot-failed",
        r"Boot failed: (?:not a bootable disk|could not read the boot disk)|Missing operating system|Operating system not found",
        DISK,
        "the BIOS finds no boot sector on the flashed disk: was the image made for BIOS and for 512-byte sectors?",
    ),
    (
        "grub-rescue",
        r"^grub(?: rescue)?> |Entering rescue mode\.\.\.|Minimal BASH-like line editing is supported",
        DISK,
        "GRUB started but did not find its modules or its configuration",
    ),
    (
        "grub-error",
        r"^\s*error: (?:\S*grub-core\S+\s*)?(?:no such (?:partition|device|disk)|unknown filesystem|disk .* not found|file .*(?:normal\.mod|vmlinu|bzImage|initrd|initramfs).* not found|you need to load the kernel first|invalid .*(?:magic|signature|header)|attempt to read or write outside of)",
        DISK,
        "GRUB cannot read what its configuration names",
    ),
];

const SYSTEMS: &[Row] = &[
    (
        "no-root-fs",
        r"VFS: (?:Cannot open root device|Unable to mount root fs)|Unable to mount root fs",
        KERNEL,
        "the kernel found no root file system: no initial RAM disk reached it, `initrd=` does not name it, or the \
         driver of the disk is missing",
    ),
    (
        "no-init",
        r"No working init found|Requested init \S+ failed",
        KERNEL,
        "the kernel found no program to start as PID 1: wrong path, not executable, or for another architecture",
    ),
    (
        "init-died",
        r"Attempted to kill init!",
        KERNEL,
        "PID 1 ended; its last lines say why",
    ),
    (
        "kernel-panic",
        r"end Kernel panic|Kernel panic - not syncing|\bnot syncing: ",
        KERNEL,
        "the kernel stopped; the lines before it say why",
    ),
    (
        "initramfs-broken",
        r"Initramfs unpacking failed",
        LIVE,
        "the initial RAM disk is damaged, compressed in a way the kernel cannot read, or too large for the memory",
    ),
    (
        "emergency-shell",
        r"Gave up waiting for root file system device|ALERT! .* does not exist\. +Dropping to a shell|^\(initramfs\) |You are in emergency mode|Entering emergency mode",
        KERNEL,
        "the system could not find or mount what it needs and waits for a person",
    ),
    (
        "agent-error",
        r"bootgate-agent: error: ",
        LIVE,
        "the agent cannot go on; the line says why",
    ),
];

/// Prompts that are answered unless a scenario says otherwise. iPXE waits two seconds for Ctrl-B at its start (2000 ms,
/// `BANNER_TIMEOUT` in its `config/general.h`); any other key ends the wait (`shell_banner` in `usr/prompt.c` and
/// `usr/autoboot.c`).
#[must_use]
pub fn default_keys() -> Vec<KeyRule> {
    vec![KeyRule {
        name: "ipxe-prompt".to_owned(),
        pattern: "Press Ctrl-B for the iPXE command line".to_owned(),
        keys: " ".to_owned(),
    }]
}

/// The shipped set. Names are unique and stable, so that a scenario can switch one off by name.
#[must_use]
pub fn default_forbidden() -> Vec<ForbidRule> {
    let rows = BOOT_PROGRAMS.iter().chain(FIRMWARES).chain(SYSTEMS);
    rows.map(|(name, pattern, stages, hint)| ForbidRule {
        name: (*name).to_owned(),
        pattern: (*pattern).to_owned(),
        stages: stages.to_vec(),
        hint: (*hint).to_owned(),
    })
    .collect()
}

/// What firmware and iPXE say of an interface that nobody answers.
const NO_ANSWER: [&str; 4] = [
    "ipxe-no-address",
    "ipxe-gave-up",
    "pxe-no-offer",
    "pxe-error",
];

/// Lets interfaces fail until the one on the segment was heard of: a machine that has others before it tries them first.
pub(crate) fn allow_interfaces_that_fail(rules: &mut [ForbidRule]) {
    for rule in rules {
        if NO_ANSWER.contains(&rule.name.as_str()) {
            rule.stages.retain(|stage| *stage > Stage::Firmware);
        }
    }
}
