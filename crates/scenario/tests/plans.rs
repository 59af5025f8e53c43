//! Good scenarios and the plans they make.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests end the test, too

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use bootgate_events::{
    ArtifactRole, DiskProofKind, FaultAction, FaultRule, FaultTrigger, Stage, TargetName,
};
use bootgate_scenario::fold::Fold;
use bootgate_scenario::{
    Driver, Files, ImageFormat, NicRom, Payload, Plan, Platform, ScenarioError, load, load_lab,
    parse, parse_lab,
};

/// Every file is there. Those without contents of their own are 64 MiB of nothing.
#[derive(Default)]
struct Everything(HashMap<PathBuf, Vec<u8>>);

impl Everything {
    fn with(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.into(), bytes.into());
        self
    }
}

impl Files for Everything {
    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self
            .0
            .get(path)
            .map_or(64 << 20, |bytes| bytes.len() as u64))
    }

    fn head(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.0.get(path).cloned().unwrap_or_default();
        bytes.truncate(usize::try_from(limit).unwrap());
        Ok(bytes)
    }
}

fn plan_of(text: &str) -> Result<Plan, ScenarioError> {
    parse(text, Path::new("lab/test.toml"), &Everything::default())
}

fn good(text: &str) -> Plan {
    plan_of(text).unwrap_or_else(|error| panic!("{error}"))
}

fn fixture(name: &str) -> Plan {
    let path = Path::new("../../fixtures/scenarios").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    parse(&text, &path, &Everything::default()).unwrap_or_else(|error| panic!("{error}"))
}

const SHORT: &str = r#"
boot = { kernel = "vmlinuz", image = "disk.img" }
expect = [{ pattern = "login:" }]
[[target]]
name = "client"
firmware = "uefi"
"#;

#[test]
fn a_short_scenario_gets_its_defaults() {
    let plan = good(SHORT);
    assert_eq!(plan.name, "test", "named after its file");
    assert_eq!(plan.network.server_ip.to_string(), "10.77.0.1");
    assert_eq!(plan.network.prefix_len, 24);
    assert_eq!(plan.network.pool.start().to_string(), "10.77.0.10");
    assert_eq!(plan.network.pool.end().to_string(), "10.77.0.254");
    let target = &plan.targets[0];
    assert_eq!(target.firmware.platform, Platform::UefiX64);
    let Driver::Qemu(qemu) = &target.driver else {
        panic!("not virtual")
    };
    assert_eq!((qemu.memory_mib, qemu.cpus), (512, 1));
    assert_eq!(qemu.nics[0].model, "virtio-net-pci");
    assert_eq!(qemu.nics[0].rom, NicRom::Standard);
    assert_eq!(qemu.disk.unwrap().size, 64 << 20);
    assert_eq!(qemu.disk.unwrap().sector_size, 512);
    let image = target.image.as_ref().unwrap();
    assert_eq!(image.path, Path::new("lab/disk.img"));
    assert_eq!(image.format, ImageFormat::Raw);
    let Payload::Linux {
        kernel,
        initrds,
        cmdline,
    } = &target.boot.payload
    else {
        panic!("not a kernel")
    };
    assert_eq!(kernel, Path::new("lab/vmlinuz"));
    assert!(initrds.is_empty());
    assert_eq!(cmdline, "console=ttyS0");
    let rules = &target.rules;
    assert_eq!(rules.disk_proof, Some(DiskProofKind::Host));
    assert!(rules.disk_boot);
    assert_eq!(rules.total_deadline_ms, 300_000);
    assert_eq!(rules.stall_ms, 60_000);
    assert_eq!(rules.stage_deadlines_ms[&Stage::Firmware], 40_000);
    assert_eq!(
        rules.forbid,
        bootgate_scenario::defaults::default_forbidden()
    );
    assert_eq!(rules.mac, target.mac);
}

#[test]
fn a_mac_is_derived_from_the_names_and_stays_the_same() {
    let first = good(SHORT).targets[0].mac;
    assert_eq!(first, good(SHORT).targets[0].mac);
    assert_eq!(&first.0[..3], &[0x52, 0x54, 0x00]);
    let renamed = SHORT.replace("\"client\"", "\"other\"");
    assert_ne!(first, good(&renamed).targets[0].mac);
}

#[test]
fn a_target_overrides_what_all_have() {
    let plan = good(
        r#"
timeout = "100s"
deadlines = { flash = "10s", live = "11s" }
boot = { kernel = "vmlinuz", initrd = ["a", "b"], image = "disk.img" }
expect = [{ pattern = "login:" }]
fault = [{ serve = "kernel", action = "corrupt" }]
[[target]]
name = "one"
firmware = "bios"
[[target]]
name = "two"
firmware = "uefi"
timeout = "50s"
deadlines = { flash = "12s", stall = "off" }
boot = { kernel = "other", cmdline = "quiet" }
expect = [{ name = "up", pattern = "^up$", stage = "disk-boot" }]
fault = [{ enter = "flash", action = "power-off" }]
forbid_defaults = false
skip_prompts = false
forbid = [{ pattern = "oops", stages = ["live", "flash"] }]
"#,
    );
    let [one, two] = &plan.targets[..] else {
        panic!()
    };
    assert_eq!(one.rules.total_deadline_ms, 100_000);
    assert_eq!(two.rules.total_deadline_ms, 50_000);
    assert_eq!(one.rules.stage_deadlines_ms[&Stage::Flash], 10_000);
    assert_eq!(two.rules.stage_deadlines_ms[&Stage::Flash], 12_000);
    assert_eq!(two.rules.stage_deadlines_ms[&Stage::Live], 11_000);
    assert_eq!((one.rules.stall_ms, two.rules.stall_ms), (60_000, 0));
    assert_eq!((one.rules.keys.len(), two.rules.keys.len()), (1, 0));
    assert_eq!(one.rules.expect[0].name, "login:");
    assert_eq!(two.rules.expect.len(), 1, "its own list replaces the other");
    assert_eq!(two.rules.expect[0].name, "up");
    let corrupt = FaultRule {
        on: FaultTrigger::Serve(ArtifactRole::Kernel),
        action: FaultAction::Corrupt,
    };
    assert_eq!(one.rules.faults, std::slice::from_ref(&corrupt));
    assert_eq!(two.rules.faults[0], corrupt);
    assert_eq!(two.rules.faults[1].on, FaultTrigger::Enter(Stage::Flash));
    assert_eq!(two.rules.forbid.len(), 1);
    assert_eq!(two.rules.forbid[0].stages, [Stage::Live, Stage::Flash]);
    let Payload::Linux {
        kernel,
        initrds,
        cmdline,
    } = &two.boot.payload
    else {
        panic!()
    };
    assert_eq!(kernel, Path::new("lab/other"));
    assert_eq!(initrds.len(), 2, "inherited");
    assert_eq!(cmdline, "console=ttyS0 quiet", "nothing else can be seen");
}

#[test]
fn deadlines_grow_with_the_scale_and_never_shrink() {
    let plan = good(SHORT);
    let slow = plan.rules(2500);
    assert_eq!(slow.targets[0].total_deadline_ms, 750_000);
    assert_eq!(slow.targets[0].stall_ms, 150_000);
    assert_eq!(
        slow.targets[0].stage_deadlines_ms[&Stage::Firmware],
        100_000
    );
    assert_eq!(plan.rules(10), plan.rules(1000));
    assert_eq!(plan.rules(1000).targets[0], plan.targets[0].rules);
}

#[test]
fn an_image_says_its_sector_size() {
    let mut gpt = vec![0u8; 2 << 20];
    gpt[4096..4104].copy_from_slice(b"EFI PART");
    let path = Path::new("lab/test.toml");
    let files = Everything::default().with("lab/disk.img", gpt);
    let plan = parse(SHORT, path, &files).unwrap();
    assert_eq!(plan.targets[0].image.as_ref().unwrap().sector_size, 4096);
    let Driver::Qemu(qemu) = &plan.targets[0].driver else {
        panic!()
    };
    assert_eq!(qemu.disk.unwrap().sector_size, 4096);
    assert_eq!(qemu.disk.unwrap().size, 2 << 20);

    let written = SHORT.replace("\"disk.img\"", "{ path = \"disk.img\", sector_size = 512 }");
    let error = parse(&written, path, &files).unwrap_err().to_string();
    assert!(error.contains("made for `4096`"), "{error}");
}

#[test]
fn a_chunk_index_is_an_image() {
    let text = SHORT.replace("disk.img", "index.json");
    let index = r#"{"schema":1,"size":3145728,"sector_size":512,"chunk_size":1048576,"chunks":[]}"#;
    let files = Everything::default().with("lab/index.json", index);
    let plan = parse(&text, Path::new("lab/test.toml"), &files).unwrap();
    let image = plan.targets[0].image.as_ref().unwrap();
    assert_eq!(
        (image.format, image.size),
        (ImageFormat::ChunkIndex, 3 << 20)
    );
}

#[test]
fn a_script_of_ones_own_boots_with_a_kernel_or_alone() {
    let path = Path::new("lab/test.toml");
    let own = "#!ipxe\n# {{comment}}\nkernel {{kernel_url}} {{cmdline}} {{initrd_args}}\n{{initrd_lines}}\nboot\n";
    let files = Everything::default().with("lab/own.ipxe", own);
    let text = SHORT.replace("image =", "script = \"own.ipxe\", image =");
    let plan = parse(&text, path, &files).unwrap();
    assert_eq!(
        plan.targets[0].boot.script.as_deref(),
        Some(Path::new("lab/own.ipxe"))
    );

    let own = "#!ipxe\nkernel {{server_url}}/artifacts/memtest\nboot\n";
    let files = Everything::default().with("lab/own.ipxe", own);
    let text = SHORT.replace(
        "kernel = \"vmlinuz\", image = \"disk.img\"",
        "script = \"own.ipxe\", files = [\"memtest\"]",
    );
    let plan = parse(&text, path, &files).unwrap();
    let Payload::Script { script, files, .. } = &plan.targets[0].boot.payload else {
        panic!()
    };
    assert_eq!(script, Path::new("lab/own.ipxe"));
    assert_eq!(files, &[PathBuf::from("lab/memtest")]);
    assert_eq!(plan.targets[0].rules.disk_proof, None);
    assert!(!plan.targets[0].rules.disk_boot);
}

#[test]
fn pools_keep_clear_of_the_server() {
    let pool = |address: &str| {
        let network = format!("network = {{ address = \"{address}\" }}\n{SHORT}");
        let pool = good(&network).network.pool;
        format!("{}-{}", pool.start(), pool.end())
    };
    assert_eq!(pool("10.0.0.1/30"), "10.0.0.2-10.0.0.2");
    assert_eq!(pool("10.0.0.2/30"), "10.0.0.1-10.0.0.1");
    assert_eq!(pool("10.0.0.1/29"), "10.0.0.2-10.0.0.6");
    assert_eq!(pool("192.168.1.254/24"), "192.168.1.10-192.168.1.253");
    assert_eq!(pool("192.168.1.100/24"), "192.168.1.101-192.168.1.254");
    assert_eq!(pool("10.1.2.3/8"), "10.1.2.4-10.255.255.254");
}

const LAB: &str = r#"
[network]
interface = "enp3s0"
address = "192.168.9.1/24"
[board.spare]
firmware = "uefi"
mac = "00:11:22:33:44:66"
console = "/dev/ttyUSB1"
power = { on = ["relay", "2", "on"], off = ["relay", "2", "off"], timeout = "5s" }
[board.client]
mac = "00:11:22:33:44:55"
console = "/dev/ttyUSB0"
baud = 9600
disk = "/dev/sda"
power = { on = ["relay", "1", "on"], off = ["relay", "1", "off"] }
"#;

#[test]
fn a_lab_puts_every_target_on_a_board() {
    let lab = parse_lab(LAB, Path::new("bench/lab.toml")).unwrap();
    assert_eq!(lab.boards().collect::<Vec<_>>(), ["spare", "client"]);
    let second = "[[target]]\nname = \"second\"\nfirmware = \"uefi\"\n";
    let plan = good(&format!("{SHORT}{second}")).with_lab(&lab).unwrap();
    assert_eq!(plan.network.interface.as_deref(), Some("enp3s0"));
    assert_eq!(plan.network.server_ip.to_string(), "192.168.9.1");
    let client = plan.target(&TargetName::new("client")).unwrap();
    assert_eq!(client.mac.to_string(), "00:11:22:33:44:55", "by name");
    assert_eq!(client.rules.mac, client.mac);
    assert_eq!(client.rules.disk_proof, Some(DiskProofKind::Agent));
    let Driver::Board(board) = &client.driver else {
        panic!()
    };
    assert_eq!(board.tty, Path::new("/dev/ttyUSB0"));
    assert_eq!(board.baud, 9600);
    assert_eq!(board.disk.as_deref(), Some("/dev/sda"));
    assert_eq!(board.power.cwd, Path::new("bench"));
    let second = plan.target(&TargetName::new("second")).unwrap();
    assert_eq!(second.mac.to_string(), "00:11:22:33:44:66", "by firmware");
}

#[test]
fn a_lab_without_a_fitting_board_is_refused() {
    let lab = parse_lab(LAB, Path::new("lab.toml")).unwrap();
    let text = SHORT
        .replace("\"client\"", "\"old\"")
        .replace("uefi", "bios");
    let error = good(&text).with_lab(&lab).unwrap_err();
    assert!(
        error.to_string().contains("no board for target `old`"),
        "{error}"
    );
    assert_eq!(error.file(), "lab.toml");

    let named = LAB.replace("baud = 9600", "firmware = \"bios\"");
    let lab = parse_lab(&named, Path::new("lab.toml")).unwrap();
    let error = good(SHORT).with_lab(&lab).unwrap_err();
    assert!(error.to_string().contains("other firmware"), "{error}");
    assert_eq!(error.line(), Some(10));
}

#[test]
fn a_board_can_stand_in_the_scenario() {
    let text = format!(
        "network = {{ interface = \"enp3s0\" }}\n{SHORT}mac = \"00:11:22:33:44:55\"\n[target.board]\nconsole = \"/dev/ttyS1\"\npower = {{ on = [\"on\"], off = [\"off\"], cycle = [\"cycle\"] }}\n"
    );
    let plan = good(&text);
    let Driver::Board(board) = &plan.targets[0].driver else {
        panic!()
    };
    assert_eq!(board.baud, 115_200);
    assert_eq!(
        board.power.cycle.as_deref(),
        Some(&["cycle".to_owned()][..])
    );
    assert_eq!(plan.targets[0].rules.disk_proof, Some(DiskProofKind::Agent));
}

#[test]
fn the_shipped_scenarios_are_good() {
    for name in ["bios-flash.toml", "uefi-flash.toml", "pair.toml"] {
        let plan = fixture(name);
        assert_eq!(plan.name, name.trim_end_matches(".toml"));
        for target in &plan.targets {
            let image = &target.image.as_ref().unwrap().path;
            assert!(image.ends_with("target/media/disk/disk.img"));
            assert_eq!(
                target.rules.expect.last().unwrap().stage,
                Some(Stage::DiskBoot)
            );
        }
        Fold::new(&plan.rules(1000)).unwrap();
    }
    let pair = fixture("pair.toml");
    assert_eq!(pair.targets[0].firmware.platform, Platform::Bios);
    assert_eq!(pair.targets[1].firmware.platform, Platform::UefiX64);
    assert_ne!(pair.targets[0].mac, pair.targets[1].mac);
}

#[test]
fn the_scenarios_that_must_fail_are_good_ones() {
    let files: Vec<_> = Path::new("../../fixtures/scenarios/failing")
        .read_dir()
        .unwrap()
        .collect();
    assert_eq!(files.len(), 7);
    for file in files {
        let name = format!("failing/{}", file.unwrap().file_name().to_string_lossy());
        let plan = fixture(&name);
        assert_eq!(format!("failing/{}.toml", plan.name), name);
        Fold::new(&plan.rules(1000)).unwrap();
    }
    let bootfile = fixture("failing/wrong-bootfile.toml").targets[0]
        .boot
        .nbp
        .bootfile
        .clone();
    assert_eq!(bootfile.as_deref(), Some("no-such-program.efi"));
}

#[test]
fn a_scenario_and_a_lab_are_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("vmlinuz", b"kernel");
    write("disk.img", &[0; 1024]);
    write("own.toml", SHORT.as_bytes());
    write("lab.toml", LAB.as_bytes());
    let plan = load(&folder.path().join("own.toml")).unwrap();
    assert_eq!(plan.targets[0].image.as_ref().unwrap().size, 1024);
    let lab = load_lab(&folder.path().join("lab.toml")).unwrap();
    plan.with_lab(&lab).unwrap();
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("vmlinuz");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    std::fs::write(folder.path().join("disk.img"), [0; 1024]).unwrap();
    std::fs::write(folder.path().join("own.toml"), SHORT).unwrap();
    let error = load(&folder.path().join("own.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
}
