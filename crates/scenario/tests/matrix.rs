//! Matrices: their cells, and the few that cover every pair.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests end the test, too

use std::collections::HashSet;
use std::io;
use std::path::Path;

use bootgate_scenario::matrix::pairwise;
use bootgate_scenario::{
    DhcpPlan, DiskBus, Driver, Files, LanServer, Loader, NicLink, Payload, Plan, ScenarioError,
    load, load_all, parse, parse_all,
};
use proptest::prelude::*;

struct Everything;

impl Files for Everything {
    fn length(&self, _: &Path) -> io::Result<u64> {
        Ok(64 << 20)
    }

    fn head(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

const REST: &str = r#"
[boot]
kernel = "vmlinuz"
image = "disk.img"
[[boot.for]]
sector_size = 4096
image = { path = "disk-4k.img", sector_size = 4096 }
[[boot.for]]
arch = "aarch64"
kernel = "vmlinuz-arm64"
[[expect]]
pattern = "login:"
[[target]]
name = "client"
"#;

fn all(text: &str) -> Result<Vec<Plan>, ScenarioError> {
    parse_all(text, Path::new("lab/test.toml"), &Everything)
}

fn cells(matrix: &str) -> Vec<Plan> {
    all(&format!("{REST}[matrix]\n{matrix}")).unwrap_or_else(|error| panic!("{}", error.one_line()))
}

fn names(plans: &[Plan]) -> Vec<String> {
    let cells = plans.iter().map(|plan| plan.cell.as_ref().unwrap());
    cells.map(ToString::to_string).collect()
}

fn qemu(plan: &Plan) -> &bootgate_scenario::QemuPlan {
    match &plan.targets[0].driver {
        Driver::Qemu(qemu) => qemu,
        Driver::Board(_) => panic!("a board"),
    }
}

#[test]
fn each_combination_is_a_cell_in_the_order_of_the_file() {
    let plans = cells("nic = [\"e1000\", \"rtl8139\"]\nfirmware = [\"uefi\", \"bios\"]\n");
    let expected = ["e1000+uefi", "e1000+bios", "rtl8139+uefi", "rtl8139+bios"];
    assert_eq!(names(&plans), expected);
    assert_eq!(plans[3].title(), "test/rtl8139+bios");
    assert_eq!(plans[3].targets[0].firmware.name, "bios");
    assert_eq!(qemu(&plans[3]).nics[0].model, "rtl8139");
    assert_eq!(plans[0].targets[0].mac, plans[3].targets[0].mac);
}

#[test]
fn the_values_are_what_the_machine_has() {
    let plans = cells(
        "firmware = \"uefi\"\ndisk = [\"sata\", \"nvme-4k\"]\nmemory = \"1GiB\"\ncpus = [2]\n\
         dhcp = [\"full\", \"proxy-kea\", \"off\"]\nloader = \"grub\"\n",
    );
    assert_eq!(plans.len(), 6);
    let name = plans[0].cell.as_ref().unwrap().to_string();
    assert!(name.contains("+2cpus+"), "{name}");
    let first = qemu(&plans[0]);
    assert_eq!((first.memory_mib, first.cpus), (1024, 2));
    let disk = first.disk.unwrap();
    assert_eq!((disk.bus, disk.sector_size), (DiskBus::Sata, 512));
    let disk = qemu(&plans[5]).disk.unwrap();
    assert_eq!((disk.bus, disk.sector_size), (DiskBus::Nvme, 4096));
    let image = |plan: &Plan| plan.targets[0].image.clone().unwrap().path;
    assert!(image(&plans[0]).ends_with("disk.img"));
    assert!(image(&plans[5]).ends_with("disk-4k.img"));
    let dhcp: Vec<DhcpPlan> = plans[..3].iter().map(|plan| plan.network.dhcp).collect();
    let expected = [
        DhcpPlan::Full,
        DhcpPlan::Proxy(LanServer::Kea),
        DhcpPlan::Off(LanServer::Dnsmasq),
    ];
    assert_eq!(dhcp, expected);
    assert_eq!(plans[0].targets[0].boot.loader, Loader::Grub);
}

#[test]
fn an_arm_machine_gets_its_kernel_and_its_console() {
    let plans = cells("firmware = [\"bios\", \"arm64\"]\n");
    let boots = |plan: &Plan| match plan.targets[0].boot.payload.clone() {
        Payload::Linux {
            kernel, cmdline, ..
        } => (kernel.display().to_string(), cmdline),
        Payload::Script { .. } => panic!("a script"),
    };
    let pc = ("lab/vmlinuz".to_owned(), "console=ttyS0".to_owned());
    let arm = ("lab/vmlinuz-arm64".to_owned(), "console=ttyAMA0".to_owned());
    assert_eq!((boots(&plans[0]), boots(&plans[1])), (pc, arm));
    let deadline = |plan: &Plan| plan.targets[0].rules.total_deadline_ms;
    assert!(
        deadline(&plans[1]) > deadline(&plans[0]),
        "a slow machine has time"
    );
}

#[test]
fn what_is_excluded_is_not_there_and_what_is_included_is() {
    let plans = cells(
        "firmware = [\"bios\", \"uefi\"]\nnic = [\"e1000\", \"rtl8139\"]\n\
         exclude = [{ firmware = \"bios\", nic = [\"rtl8139\"] }]\n\
         include = [{ nic = \"vmxnet3\", firmware = \"uefi-http\" }, { firmware = \"uefi\", nic = \"e1000\" }]\n",
    );
    let expected = [
        "bios+e1000",
        "uefi+e1000",
        "uefi+rtl8139",
        "uefi-http+vmxnet3",
    ];
    assert_eq!(names(&plans), expected);
}

#[test]
fn pairs_need_fewer_cells_and_the_same_ones_each_time() {
    let matrix = "firmware = [\"bios\", \"uefi\", \"uefi-http\"]\n\
        nic = [\"virtio-net\", \"e1000\", \"rtl8139\"]\ndisk = [\"virtio\", \"nvme\", \"sata\"]\npick = \"pairwise\"\n";
    let first = names(&cells(matrix));
    assert_eq!(first, names(&cells(matrix)));
    assert!((9..=12).contains(&first.len()), "{first:?}");
    for firmware in ["bios+", "uefi+", "uefi-http+"] {
        let count = first
            .iter()
            .filter(|name| name.starts_with(firmware))
            .count();
        assert!(
            (3..=4).contains(&count),
            "{count} of {firmware} in {first:?}"
        );
    }
}

#[test]
fn a_matrix_of_a_machine_with_a_dead_interface_changes_the_other_one() {
    let text = format!(
        "{REST}nic = [{{ model = \"e1000\", link = \"dead\" }}, {{ link = \"segment\" }}]\n\
         [matrix]\nfirmware = \"uefi\"\nnic = [\"rtl8139\", \"vmxnet3\"]\n"
    );
    let plans = all(&text).unwrap();
    let nics = &qemu(&plans[1]).nics;
    assert_eq!(
        (nics[0].model.as_str(), nics[0].link),
        ("e1000", NicLink::Dead)
    );
    assert_eq!(
        (nics[1].model.as_str(), nics[1].link),
        ("vmxnet3", NicLink::Segment)
    );
    assert_eq!(nics[1].mac, plans[1].targets[0].mac);
    assert_ne!(nics[0].mac, nics[1].mac);
}

#[test]
fn a_cell_that_no_host_can_run_names_its_exclude() {
    let error = all(&format!(
        "{REST}[matrix]\nfirmware = [\"bios\", \"uefi\"]\ndisk = [\"virtio\", \"virtio-4k\"]\n"
    ))
    .unwrap_err();
    let problem = error.problems().next().unwrap();
    assert!(
        problem
            .hint
            .contains("exclude = [{ firmware = \"bios\", disk = \"virtio-4k\" }]"),
        "{}",
        problem.hint
    );
    assert_eq!(error.problems().count(), 1, "{error}");
}

#[test]
fn one_plan_is_not_made_of_a_matrix() {
    let text = format!("{REST}[matrix]\nfirmware = [\"bios\"]\n");
    assert!(parse(&text, Path::new("test.toml"), &Everything).is_err());
    let plain = format!("{REST}firmware = \"bios\"\n");
    assert_eq!(all(&plain).unwrap()[0].cell, None);
}

#[test]
fn an_operators_own_firmware_gives_the_cell_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "slow.toml",
        "name = \"slow-uefi\"\nplatform = \"uefi-x86_64\"\nboot = \"pxe\"\nallow = [\"pxe-error\"]\ntimeout = \"20m\"\n\
         [deadlines]\nfirmware = \"5m\"\n",
    );
    write("vmlinuz", "kernel");
    let text = "boot = { kernel = \"vmlinuz\" }\nexpect = [{ pattern = \"up\" }]\n[[target]]\nname = \"a\"\n\
        [matrix]\nfirmware = [\"uefi\", \"slow.toml\"]\n";
    write("own.toml", text);
    let plans = load_all(&folder.path().join("own.toml")).unwrap();
    assert_eq!(names(&plans), ["uefi", "slow-uefi"]);
    let rules = &plans[1].targets[0].rules;
    assert_eq!(rules.total_deadline_ms, 1_200_000);
    assert_eq!(
        rules.stage_deadlines_ms[&bootgate_events::Stage::Firmware],
        300_000
    );
    assert!(rules.forbid.iter().all(|rule| rule.name != "pxe-error"));
    assert!(load(&folder.path().join("own.toml")).is_err());
}

#[test]
fn the_shipped_matrix_is_small_enough() {
    let path = Path::new("../../fixtures/scenarios/matrix.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let plans = parse_all(&text, path, &Everything).unwrap_or_else(|e| panic!("{}", e.one_line()));
    assert!((12..=40).contains(&plans.len()), "{}", plans.len());
}

/// A value of one axis that may not be together with a value of another.
type Forbidden = (usize, usize, usize, usize);

/// Sizes of axes, and cells that are forbidden by a few values of two axes.
fn matrices() -> impl Strategy<Value = (Vec<usize>, HashSet<Forbidden>)> {
    prop::collection::vec(1..5usize, 1..5).prop_flat_map(|sizes| {
        let axes = sizes.len();
        let pair = (0..axes, 0..5usize, 0..axes, 0..5usize);
        (Just(sizes), prop::collection::hash_set(pair, 0..6))
    })
}

/// The product, counted out here again.
fn product(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for size in sizes {
        let longer = |cell: &Vec<usize>| {
            let cell = cell.clone();
            (0..*size).map(move |value| [&cell[..], &[value]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every two values that some allowed cell has together are together in a picked one, and no forbidden cell is
    /// picked.
    #[test]
    fn pairwise_covers_every_pair_that_can_be((sizes, pairs) in matrices()) {
        let forbidden = |cell: &[usize]| {
            pairs.iter().any(|(a, x, b, y)| a != b && cell[*a] == *x && cell[*b] == *y)
        };
        let picked = pairwise(&sizes, &[], &forbidden);
        prop_assert!(picked.iter().all(|cell| !forbidden(cell)));
        prop_assert_eq!(&picked, &pairwise(&sizes, &[], &forbidden));
        let distinct: HashSet<&Vec<usize>> = picked.iter().collect();
        prop_assert_eq!(distinct.len(), picked.len());
        for cell in product(&sizes).iter().filter(|cell| !forbidden(cell)) {
            for one in 0..cell.len() {
                for two in one..cell.len() {
                    let covered = picked.iter().any(|pick| pick[one] == cell[one] && pick[two] == cell[two]);
                    prop_assert!(covered, "{cell:?} axes {one} and {two} in {picked:?}");
                }
            }
        }
    }

    /// What is there anyway is not picked again for its pairs alone.
    #[test]
    fn what_is_given_counts((sizes, _) in matrices()) {
        let given = pairwise(&sizes, &[], &|_| false);
        prop_assert!(pairwise(&sizes, &given, &|_| false).is_empty());
    }
}
