//! Configurations of loaders, and scripts of a lab.

#![allow(clippy::expect_used, reason = "a test")]

use bootgate_events::AttemptId;
use bootgate_netboot::script::{
    IpxeScript, LinuxBoot, LoaderBoot, LoaderKind, LocalDrive, render_loader, render_local,
    render_refused, render_template,
};

const KINDS: [LoaderKind; 3] = [LoaderKind::Pxelinux, LoaderKind::Grub, LoaderKind::Uboot];

fn linux(cmdline: &str) -> LoaderBoot {
    LoaderBoot::Linux(LinuxBoot {
        kernel: "/live/vmlinuz".to_owned(),
        initrds: vec!["/live/a".to_owned(), "/live/b".to_owned()],
        cmdline: cmdline.to_owned(),
    })
}

#[test]
fn a_value_cannot_add_a_line() {
    for kind in KINDS {
        let line = "quiet\nlinux /evil".to_owned();
        let all = [
            linux(&line).clone(),
            LoaderBoot::Local {
                reason: line.clone(),
                drive: LocalDrive::Next,
            },
            LoaderBoot::Refused { reason: line },
        ];
        for boot in all {
            let rendered = render_loader(kind, &boot);
            // GRUB's command line is cut into words, so that the second line is a word of the first.
            let harmless = rendered
                .as_ref()
                .is_ok_and(|text| !text.contains("\nlinux /evil"));
            assert!(rendered.is_err() || harmless, "{kind:?}: {rendered:?}");
        }
    }
}

#[test]
fn words_that_mean_something_to_grub_are_quoted() {
    let text = render_loader(LoaderKind::Grub, &linux("a=$b c;d e={f} plain")).expect("render");
    assert!(
        text.contains("linux /live/vmlinuz 'a=$b' 'c;d' 'e={f}' plain\n"),
        "{text}"
    );
    assert!(render_loader(LoaderKind::Grub, &linux("it's")).is_err());
}

#[test]
fn every_initial_ram_disk_is_loaded_where_the_loader_can() {
    let all = |kind| render_loader(kind, &linux("quiet")).expect("render");
    assert!(all(LoaderKind::Pxelinux).contains("initrd=::live/a,::live/b quiet\n"));
    assert!(all(LoaderKind::Grub).contains("initrd /live/a /live/b\n"));
    assert!(all(LoaderKind::Uboot).contains("initrd /live/a\n"));
}

#[test]
fn no_refusal_goes_back_to_the_firmware() {
    let boot = LoaderBoot::Refused {
        reason: "its disk is half written".to_owned(),
    };
    let mut all: Vec<String> = KINDS
        .into_iter()
        .map(|kind| render_loader(kind, &boot).expect("render"))
        .collect();
    all.push(render_refused("its disk is half written").expect("render"));
    for text in all {
        let commands = text.lines().filter(|line| !line.starts_with('#'));
        for line in commands {
            for back in ["exit", "localboot", "LOCALBOOT", "sanboot", "chainloader"] {
                assert!(!line.contains(back), "`{back}` in {text}");
            }
        }
        assert!(text.contains("its disk is half written"), "{text}");
    }
}

#[test]
fn a_local_boot_is_firmware_aware() {
    let text = render_local("it boots its own disk", 0x81).expect("render");
    let efi = text.find("iseq ${platform} efi && exit 1").expect("UEFI");
    let bios = text
        .find("sanboot --no-describe --drive 0x81 || exit 1")
        .expect("BIOS");
    assert!(efi < bios);
    assert!(render_local("a || shell", 0x80).is_err());
}

#[test]
fn an_operators_template_knows_labels_and_is_safe_from_them() {
    let script = IpxeScript {
        kernel_url: "http://10.0.0.1/k".to_owned(),
        initrds: Vec::new(),
        cmdline: String::new(),
        nonce: AttemptId::new("0123456789abcdef0123456789abcdef"),
        server_url: "http://10.0.0.1".to_owned(),
    };
    let label = |value: &str| vec![("label.rack".to_owned(), value.to_owned())];
    let template = "#!ipxe\necho {{ label.rack }}\n";
    let text = render_template(template, &script, &label("r 1")).expect("render");
    assert_eq!(text, "#!ipxe\necho r 1\n");
    assert!(render_template(template, &script, &label("r || shell")).is_err());
    assert!(render_template(template, &script, &[]).is_err());
}
