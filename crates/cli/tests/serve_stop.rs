//! `bootgate serve` is stopped while a machine is flashed: the flash is finished first.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;

use bootgate_testkit::in_namespaces;
use lab::{Lab, MAC, Vm, pc, root, serving, tap};

#[test]
fn a_stop_lets_a_flash_finish() {
    require_flashing!();
    let ran = in_namespaces(|| {
        tap();
        let media = root().join("target/media");
        let media = media.display();
        let more = format!(
            "\n[live]\nkernel = \"{media}/live/vmlinuz\"\ninitrd = [\"{media}/live/initrd.img\"]\n\
             cmdline = \"console=ttyS0 quiet\"\n\n[[image]]\nname = \"small\"\nfolder = \"@/small\"\n"
        );
        let mut lab = Lab::new(&serving(24, "10.77.0.100-10.77.0.150", &more));
        let out = lab.path("small");
        let (image, out) = (format!("{media}/disk/disk.img"), out.display().to_string());
        lab.bootgate(&["media", "chunks", &image, "--out", &out]);
        let disk = lab.path("disk.raw");
        let blank = fs::File::create(&disk).expect("a disk");
        blank.set_len(256 << 20).expect("a blank disk");
        lab.serve();
        let disk_wanted = "serial=DISK-1";
        lab.bootgate(&[
            "machine",
            "arm",
            MAC,
            "--image",
            "small",
            "--disk",
            disk_wanted,
        ]);
        let line = pc("bios", lab.folder.path(), "")
            + &format!(
                " -drive if=none,id=d,format=raw,file={} -device virtio-blk-pci,drive=d,serial=DISK-1,bootindex=2",
                disk.display()
            );
        let mut vm = Vm::start("qemu-system-x86_64", &line);
        // Its kernel is on its way or runs: nothing was written yet.
        lab.until("the script is fetched", |lab| {
            lab.log()
                .contains("the boot script was fetched")
                .then_some(())
        });
        // Waits until it has ended by itself.
        lab.stop();
        let log = lab.log();
        assert!(
            log.contains(&format!("waiting up to 300 s for {MAC} (flash-once)")),
            "{log}"
        );
        assert!(log.contains("passed after"), "{log}");
        assert!(!log.contains("goes on when the server runs again"), "{log}");
        vm.wait_for("flash complete");
        // Without a server the firmware goes on to the disk.
        vm.wait_for("bootgate-image: bootgate-demo-1");
        lab.serve();
        let machine = lab.json(&["machine", "show", MAC]);
        assert_eq!(machine["disk"]["state"], "flashed", "{machine:#}");
        lab.stop();
    });
    assert!(ran);
}
