//! Reading what a machine is made of, from folders that look like `/proc` and `/sys`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bootgate_agent::inventory::{cpu_count, cpu_model, memory, read};
use bootgate_api::{DiskFacts, Inventory, NicFacts};

/// The parts of `/proc/cpuinfo` of two processors of a virtual machine that matter here.
const X86: &str = "processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 143
model name\t: Intel(R)   Xeon(R) Gold 6430
flags\t\t: fpu vme de

processor\t: 1
vendor_id\t: GenuineIntel
model\t\t: 143
model name\t: Intel(R)   Xeon(R) Gold 6430
";

const ARM64: &str = "processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd08
";

#[test]
fn processors_are_named_and_counted() {
    assert_eq!(cpu_model(X86), "Intel(R) Xeon(R) Gold 6430");
    assert_eq!(cpu_count(X86), 2);
    assert_eq!(cpu_model(ARM64), "Arm implementer 0x41 part 0xd08");
    assert_eq!(cpu_count(ARM64), 2);
    for odd in ["", "processor", "nothing: here\n\n:\n"] {
        assert_eq!((cpu_model(odd), cpu_count(odd)), (String::new(), 0));
    }
}

#[test]
fn memory_is_in_bytes() {
    let text = "MemTotal:        2014316 kB\nMemFree:           91064 kB\n";
    assert_eq!(memory(text), 2_014_316 * 1024);
    for odd in ["", "MemTotal:", "MemTotal: much kB", "MemFree: 1 kB"] {
        assert_eq!(memory(odd), 0, "{odd:?}");
    }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn add_nic(root: &Path, name: &str, mac: &str, driver: Option<&str>) {
    let folder = format!("sys/class/net/{name}");
    put(root, &format!("{folder}/ifindex"), "2\n");
    put(root, &format!("{folder}/address"), &format!("{mac}\n"));
    if let Some(driver) = driver {
        fs::create_dir_all(root.join(&folder).join("device")).unwrap();
        let target = format!("../../../../bus/virtio/drivers/{driver}");
        symlink(target, root.join(&folder).join("device/driver")).unwrap();
    }
}

#[test]
fn a_whole_machine_is_read() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, "proc/cpuinfo", X86);
    put(root, "proc/meminfo", "MemTotal: 1024 kB\n");
    for (file, text) in [
        ("sys_vendor", "QEMU\n"),
        ("product_name", "Standard PC (Q35 + ICH9, 2009)\n"),
        ("product_serial", "  \n"),
        ("product_uuid", "0f0e0d0c-0b0a-0908-0706-050403020100\n"),
    ] {
        put(root, &format!("sys/class/dmi/id/{file}"), text);
    }
    fs::create_dir_all(root.join("sys/firmware/efi")).unwrap();
    for (file, text) in [
        ("size", "2048"),
        ("queue/logical_block_size", "4096"),
        ("device/model", "Samsung SSD 980 \n"),
        ("device/serial", "S64DNL0T\n"),
    ] {
        put(root, &format!("sys/block/nvme0n1/{file}"), text);
    }
    add_nic(root, "enp1s0", "52:54:00:00:00:07", Some("virtio_net"));
    add_nic(root, "lo", "00:00:00:00:00:00", None);

    let machine = read(root);
    let system: Vec<_> = machine.system.iter().collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        system,
        [
            (&text("manufacturer"), &text("QEMU")),
            (&text("product"), &text("Standard PC (Q35 + ICH9, 2009)")),
            (&text("uuid"), &text("0f0e0d0c-0b0a-0908-0706-050403020100")),
        ]
    );
    let rest = Inventory {
        system: machine.system.clone(),
        cpu: text("Intel(R) Xeon(R) Gold 6430"),
        cpus: 2,
        memory: 1 << 20,
        firmware: text("uefi"),
        disks: vec![DiskFacts {
            path: text("/dev/nvme0n1"),
            size: 1 << 20,
            sector_size: 4096,
            serial: Some(text("S64DNL0T")),
            model: Some(text("Samsung SSD 980")),
        }],
        nics: vec![NicFacts {
            name: text("enp1s0"),
            mac: "52:54:00:00:00:07".parse().unwrap(),
            driver: Some(text("virtio_net")),
        }],
        undriven: Vec::new(),
    };
    assert_eq!(machine, rest);
}

#[test]
fn a_board_without_smbios_is_named_by_its_device_tree() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(
        root,
        "sys/firmware/devicetree/base/model",
        "Raspberry Pi 4 Model B Rev 1.4\0",
    );
    put(
        root,
        "sys/firmware/devicetree/base/serial-number",
        "10000000abcdef01\0",
    );
    let machine = read(root);
    assert_eq!(machine.system["product"], "Raspberry Pi 4 Model B Rev 1.4");
    assert_eq!(machine.system["serial"], "10000000abcdef01");
    assert_eq!(machine.firmware, "bios");
}

#[test]
fn a_machine_that_tells_nothing_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let nothing = Inventory {
        firmware: "bios".to_owned(),
        ..Inventory::default()
    };
    assert_eq!(read(root.path()), nothing);
}

/// The machine that runs this test is one too.
#[test]
fn this_machine_is_read() {
    let machine = read(Path::new("/"));
    assert!(
        machine.cpus >= 1 && machine.memory > 64 << 20,
        "{machine:?}"
    );
}
