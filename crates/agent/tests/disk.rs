//! Choosing a disk, from a folder that looks like `/sys/block`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]

use std::fs;
use std::path::Path;

use bootgate_agent::disk::{DiskError, check_fit, choose, list};
use bootgate_api::DiskSelector;

fn add(block: &Path, name: &str, files: &[(&str, &str)]) {
    let folder = block.join(name);
    let defaults = [
        ("size", "131072\n"),
        ("queue/logical_block_size", "512\n"),
        ("removable", "0\n"),
        ("ro", "0\n"),
        ("dev", "253:0\n"),
    ];
    fs::create_dir_all(folder.join("device")).unwrap();
    for (file, text) in defaults.iter().chain(files) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn sysfs_is_read() {
    let block = tempfile::tempdir().unwrap();
    add(
        block.path(),
        "vda",
        &[
            ("serial", "BOOTGATE0"),
            ("queue/logical_block_size", "4096"),
        ],
    );
    add(block.path(), "nvme0n1", &[("device/serial", " S4X \n")]);
    add(
        block.path(),
        "sda",
        &[("device/vpd_pg80", "\0\u{1}\0\u{4}WD-1")],
    );
    // The kernel has a link to the device, which is deep in the folder of the USB device.
    let usb = block.path().join("usb/2-1");
    let target = usb.join("2-1:1.0/host7/target7:0:0/7:0:0:0");
    fs::create_dir_all(&target).unwrap();
    fs::write(usb.join("idVendor"), "46f4\n").unwrap();
    fs::write(usb.join("serial"), "AA1\n").unwrap();
    add(block.path(), "sdb", &[]);
    fs::remove_dir(block.path().join("sdb/device")).unwrap();
    std::os::unix::fs::symlink(target, block.path().join("sdb/device")).unwrap();
    add(block.path(), "sr0", &[("removable", "1"), ("size", "2048")]);
    add(block.path(), "vdz", &[("size", "0")]);
    fs::create_dir_all(block.path().join("loop0")).unwrap();
    let disks = list(block.path(), "");
    let told: Vec<_> = disks.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "/dev/nvme0n1 (67108864 bytes, 512-byte sectors, serial S4X)",
            "/dev/sda (67108864 bytes, 512-byte sectors, serial WD-1)",
            "/dev/sdb (67108864 bytes, 512-byte sectors, serial AA1)",
            "/dev/sr0 (1048576 bytes, 512-byte sectors, removable)",
            "/dev/vda (67108864 bytes, 4096-byte sectors, serial BOOTGATE0)",
        ]
    );
}

#[test]
fn one_disk_is_chosen_and_two_are_refused() {
    let block = tempfile::tempdir().unwrap();
    add(block.path(), "vda", &[("serial", "A")]);
    let any = DiskSelector::default();
    let disks = list(block.path(), "");
    assert_eq!(choose(&disks, &any).unwrap().path, "/dev/vda");

    add(block.path(), "vdb", &[("serial", "B"), ("size", "200")]);
    let disks = list(block.path(), "");
    let refusal = choose(&disks, &any).unwrap_err();
    assert!(matches!(refusal, DiskError::Ambiguous { count: 2, .. }));
    let text = refusal.to_string();
    assert!(text.contains("/dev/vda (67108864 bytes") && text.contains("/dev/vdb (102400 bytes"));

    let chosen = |selector: DiskSelector| choose(&disks, &selector).map(|disk| disk.path.clone());
    let by_serial = DiskSelector {
        serial: Some("B".into()),
        ..any.clone()
    };
    assert_eq!(chosen(by_serial).unwrap(), "/dev/vdb");
    let by_size = DiskSelector {
        min_size: Some(1 << 20),
        ..any.clone()
    };
    assert_eq!(chosen(by_size).unwrap(), "/dev/vda");
    let by_path = DiskSelector {
        path: Some("/dev/vda".into()),
        serial: Some("B".into()),
        ..any
    };
    let refusal = chosen(by_path).unwrap_err().to_string();
    assert!(
        refusal.starts_with("no disk fits path `/dev/vda` and serial `B`; there is /dev/vda"),
        "{refusal}"
    );
}

#[test]
fn every_rule_that_fits_several_disks_is_refused_with_a_list() {
    let block = tempfile::tempdir().unwrap();
    add(block.path(), "sda", &[("serial", "TWIN"), ("dev", "8:0")]);
    add(block.path(), "sdb", &[("serial", "TWIN"), ("dev", "8:16")]);
    add(block.path(), "sdc", &[("size", "2000"), ("dev", "8:32")]);
    let disks = list(block.path(), "");
    let any = DiskSelector::default();
    let by_serial = DiskSelector {
        serial: Some("TWIN".into()),
        ..any.clone()
    };
    let by_size = DiskSelector {
        min_size: Some(1 << 20),
        max_size: Some(1 << 30),
        ..any
    };
    for (selector, wanted) in [
        (&by_serial, "serial `TWIN`"),
        (
            &by_size,
            "at least `1048576` bytes and at most `1073741824` bytes",
        ),
    ] {
        let text = choose(&disks, selector).unwrap_err().to_string();
        let said = format!("`2` disks fit {wanted}; there is /dev/sda (");
        assert!(text.starts_with(&said), "{text}");
        for path in ["/dev/sdb", "/dev/sdc"] {
            assert!(text.contains(path), "the list is whole: {text}");
        }
    }
    // What tells the twins apart makes the rule good.
    let told_apart = DiskSelector {
        path: Some("/dev/sdb".into()),
        ..by_serial
    };
    assert_eq!(choose(&disks, &told_apart).unwrap().path, "/dev/sdb");
}

#[test]
fn every_rule_that_fits_no_disk_is_refused_with_a_list() {
    let block = tempfile::tempdir().unwrap();
    add(block.path(), "vda", &[("serial", "A")]);
    let disks = list(block.path(), "");
    let size = disks[0].size;
    let any = DiskSelector::default();
    let selectors = [
        DiskSelector {
            path: Some("/dev/sda".into()),
            ..any.clone()
        },
        DiskSelector {
            serial: Some("a".into()),
            ..any.clone()
        },
        DiskSelector {
            min_size: Some(size + 1),
            ..any.clone()
        },
        DiskSelector {
            max_size: Some(size - 1),
            ..any.clone()
        },
    ];
    for selector in selectors {
        let text = choose(&disks, &selector).unwrap_err().to_string();
        assert!(text.starts_with("no disk fits "), "{text}");
        assert!(text.ends_with("; there is /dev/vda (67108864 bytes, 512-byte sectors, serial A)"));
    }
    // The bounds themselves fit.
    let exact = DiskSelector {
        min_size: Some(size),
        max_size: Some(size),
        ..any
    };
    assert_eq!(choose(&disks, &exact).unwrap().path, "/dev/vda");
}

#[test]
fn a_boot_medium_is_never_chosen() {
    let block = tempfile::tempdir().unwrap();
    add(block.path(), "sda", &[("removable", "1")]);
    add(block.path(), "sdb", &[("ro", "1")]);
    add(
        block.path(),
        "sdc",
        &[
            ("dev", "8:32"),
            ("sdc1/partition", "1"),
            ("sdc1/dev", "8:33"),
        ],
    );
    add(block.path(), "sdd", &[("holders/dm-0/x", "")]);
    let mounts = "25 1 8:33 / /boot ro,relatime - vfat /dev/sdc1 ro\n";
    let disks = list(block.path(), mounts);
    let text = choose(&disks, &DiskSelector::default())
        .unwrap_err()
        .to_string();
    for reason in ["removable", "read-only", "mounted", "in use"] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let none = choose(&[], &DiskSelector::default()).unwrap_err();
    assert_eq!(
        none.to_string(),
        "no disk fits `any disk`; there is no disk at all"
    );
}

#[test]
fn other_sectors_and_small_disks_are_refused() {
    let block = tempfile::tempdir().unwrap();
    add(block.path(), "vda", &[]);
    let disks = list(block.path(), "");
    check_fit(&disks[0], 64 << 20, 512).unwrap();
    let sectors = check_fit(&disks[0], 1 << 20, 4096).unwrap_err();
    assert_eq!(
        sectors.to_string(),
        "disk `/dev/vda` has sectors of `512` bytes, the image was made for sectors of `4096`"
    );
    let small = check_fit(&disks[0], (64 << 20) + 512, 512).unwrap_err();
    assert_eq!(
        small.to_string(),
        "disk `/dev/vda` has `67108864` bytes, the image needs `67109376`"
    );
}
