//! Loaders other than iPXE boot a machine through its own configuration: pxelinux, GRUB and U-Boot, all of them real.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;

use bootgate_testkit::{in_namespaces, require_commands, require_files, require_root};
use lab::{Lab, MAC, Vm, pc, serving, tap};

/// A lab with one installer whose kernel and initial RAM disk are these files of the lab's folder.
fn installer_lab(boot: &str) -> Lab {
    let more = format!(
        r#"
{boot}

[[installer]]
name = "probe"
kernel = "@/vmlinuz"
initrd = "@/initrd.img"
cmdline = "console=ttyS0 panic=-1 bootgate.test=yes"
"#
    );
    let lab = Lab::new(&serving(24, "10.77.0.100-10.77.0.150", &more));
    // The kernel says that it cannot find a root file system, which is as far as this test goes.
    fs::write(lab.path("initrd.img"), vec![0; 4096]).expect("an initial RAM disk");
    lab
}

fn copy_kernel(lab: &Lab) {
    fs::copy(lab::kernel().expect("a kernel"), lab.path("vmlinuz")).expect("the kernel");
}

fn install(lab: &mut Lab) {
    lab.serve();
    lab.bootgate(&[
        "machine",
        "set",
        MAC,
        "--mode",
        "install",
        "--installer",
        "probe",
    ]);
}

/// The attempt's log has the configuration, the kernel and the initial RAM disk as completed transfers.
fn assert_fetched(lab: &Lab, roles: &[&str]) {
    let attempts = lab.attempts();
    let id = attempts.last().expect("an attempt")["id"]
        .as_str()
        .expect("its number")
        .to_owned();
    let events = lab.events(&id);
    for role in roles {
        assert!(
            events
                .iter()
                .any(|e| e["kind"] == "transfer-completed" && e["role"] == **role),
            "no completed `{role}` in {events:#?}"
        );
    }
}

#[test]
fn pxelinux_boots_a_machine_through_its_own_configuration() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip");
    require_files!(
        "/usr/lib/PXELINUX/pxelinux.0" => "install pxelinux",
        "/usr/lib/syslinux/modules/bios/ldlinux.c32" => "install syslinux-common",
        "/usr/lib/ipxe/ipxe.lkrn" => "install ipxe",
    );
    require_kernel!();
    let ran = in_namespaces(|| {
        tap();
        let mut lab = installer_lab("[boot]\nfolder = \"@/tftp\"");
        copy_kernel(&lab);
        fs::copy("/usr/lib/PXELINUX/pxelinux.0", lab.path("tftp/pxelinux.0")).expect("pxelinux");
        fs::copy(
            "/usr/lib/syslinux/modules/bios/ldlinux.c32",
            lab.path("tftp/ldlinux.c32"),
        )
        .expect("its module");
        // QEMU's ROMs are iPXE, which we would give an iPXE script; so iPXE plays the ROM
        // that was told pxelinux: it passes that name on as the one that DHCP gave.
        let script = lab.path("rom.ipxe");
        fs::write(
            &script,
            "#!ipxe\ndhcp\nset net0/filename pxelinux.0\nchain tftp://${next-server}/pxelinux.0\n",
        )
        .expect("a script");
        install(&mut lab);
        let rom = format!(
            ",romfile= -kernel /usr/lib/ipxe/ipxe.lkrn -initrd {}",
            script.display()
        );
        let mut vm = Vm::start("qemu-system-x86_64", &pc("bios", lab.folder.path(), &rom));
        vm.wait_for("bootgate.test=yes");
        assert_fetched(&lab, &["script", "kernel", "initrd"]);
        lab.stop();
    });
    assert!(ran);
}

#[test]
fn grub_boots_a_machine_through_its_own_configuration() {
    require_root!();
    require_commands!("qemu-system-x86_64", "ip");
    let grub = "/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi";
    require_files!(grub => "install grub-efi-amd64-bin", lab::OVMF => "install ovmf");
    require_kernel!();
    let ran = in_namespaces(|| {
        tap();
        let mut lab = installer_lab(
            "[boot]\nfolder = \"@/tftp\"\n\n[[arch]]\ncode = 7\nbootfile = \"grubnetx64.efi\"",
        );
        copy_kernel(&lab);
        fs::copy(grub, lab.path("tftp/grubnetx64.efi")).expect("GRUB");
        install(&mut lab);
        let mut vm = Vm::start(
            "qemu-system-x86_64",
            &pc("uefi", lab.folder.path(), ",romfile="),
        );
        vm.wait_for("bootgate.test=yes");
        assert_fetched(&lab, &["nbp", "script", "kernel", "initrd"]);
        lab.stop();
    });
    assert!(ran);
}

/// The smallest "kernel" that U-Boot's `booti` starts on QEMU's `virt` board: the header of
/// Documentation/arch/arm64/booting.rst and seven instructions that print `text` on the PL011 at 0x09000000.
fn arm64_image(text: &str) -> Vec<u8> {
    let message = 6 * 4;
    let code: [u32; 7] = [
        0xd2a1_2000,                      // movz x0, #0x0900, lsl #16
        0x1000_0001 | (message / 4) << 5, // adr  x1, message
        0x3840_1422,                      // ldrb w2, [x1], #1
        0x3400_0062,                      // cbz  w2, the last
        0x3900_0002,                      // strb w2, [x0]
        0x17ff_fffd,                      // b    ldrb
        0x1400_0000,                      // b    itself
    ];
    let mut body: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend(text.bytes());
    body.resize(body.len().next_multiple_of(8) + 8, 0);
    let mut image = 0x1400_0010_u32.to_le_bytes().to_vec(); // b to byte 64
    image.extend([0; 4]);
    image.extend(0x8_0000_u64.to_le_bytes()); // where in a 2 MiB block it is loaded
    image.extend((64 + body.len() as u64 + 4096).to_le_bytes());
    image.extend([0; 32]);
    image.extend(b"ARM\x64\0\0\0\0");
    image.extend(body);
    image
}

#[test]
fn u_boot_boots_a_machine_through_its_own_configuration() {
    require_root!();
    require_commands!("qemu-system-aarch64", "ip");
    let firmware = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
    require_files!(firmware => "install u-boot-qemu");
    let ran = in_namespaces(|| {
        tap();
        let mut lab = installer_lab("[boot]\nfolder = \"@/tftp\"");
        fs::write(lab.path("vmlinuz"), arm64_image("ARM64-PAYLOAD-RUNS\r\n")).expect("a kernel");
        install(&mut lab);
        let line = format!(
            "-M virt -cpu cortex-a57 -m 512 -bios {firmware} -nographic \
             -netdev tap,id=n,ifname=lab0,script=no,downscript=no -device virtio-net-device,netdev=n,mac={MAC}"
        );
        let mut vm = Vm::start("qemu-system-aarch64", &line);
        vm.wait_for("stop autoboot");
        vm.type_line("");
        vm.wait_for("=> ");
        vm.type_line("setenv autoload no; dhcp; pxe get; pxe boot");
        vm.wait_for("ARM64-PAYLOAD-RUNS");
        assert_fetched(&lab, &["script", "kernel", "initrd"]);
        lab.stop();
    });
    assert!(ran);
}
