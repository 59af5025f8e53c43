//! Rendered boot scripts: what iPXE reads.

use bootgate_events::AttemptId;
use bootgate_netboot::script::{
    BOOT_TEMPLATE, EXIT_TEMPLATE, Initrd, IpxeScript, ScriptError, render_autoexec, render_custom,
    render_exit, render_ipxe,
};

fn script() -> IpxeScript {
    let initrd = |name: &str| Initrd {
        name: name.to_owned(),
        url: format!("http://10.77.0.1/artifacts/{name}"),
    };
    IpxeScript {
        kernel_url: "http://10.77.0.1/artifacts/vmlinuz".to_owned(),
        initrds: vec![initrd("live.img"), initrd("extra.img")],
        cmdline: "console=ttyS0 panic=-1".to_owned(),
        nonce: AttemptId::new("0123456789abcdef0123456789abcdef"),
        server_url: "http://10.77.0.1".to_owned(),
    }
}

/// The lines that iPXE runs.
fn commands(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_boot_script_fetches_and_boots_with_the_keys_the_agent_reads() {
    let text = render_ipxe(&script()).expect("render");
    assert!(
        text.starts_with("#!ipxe\n"),
        "iPXE tells a script by its first line"
    );
    let commands = commands(&text);
    let kernel = commands
        .iter()
        .find(|line| line.starts_with("kernel "))
        .expect("kernel");
    assert!(
        kernel
            .starts_with("kernel --name kernel http://10.77.0.1/artifacts/vmlinuz console=ttyS0 ")
    );
    assert!(kernel.ends_with(" || goto kernel_failed"));
    use bootgate_api::cmdline::{ADDRESS, MAC, NONCE, SERVER};
    for word in [
        format!("{NONCE}=0123456789abcdef0123456789abcdef"),
        format!("{SERVER}=http://10.77.0.1"),
        format!("{ADDRESS}=${{bootgate-ip}}"),
        format!("{MAC}=${{mac}}"),
        "initrd=live.img".to_owned(),
        "initrd=extra.img".to_owned(),
        "panic=-1".to_owned(),
    ] {
        assert!(
            kernel.split(' ').any(|known| known == word),
            "`{word}` in `{kernel}`"
        );
    }
    let address =
        "isset ${ip} && set bootgate-ip ${ip}/${netmask} || set bootgate-ip ${ip6}/${len6}";
    assert!(commands.contains(&address), "{commands:?}");
    let gateway = format!("{}=${{gateway}}", bootgate_api::cmdline::GATEWAY);
    assert!(commands.iter().any(|line| line.contains(&gateway)));
    assert!(commands.contains(
        &"initrd --name live.img http://10.77.0.1/artifacts/live.img || goto initrd_failed"
    ));
    assert!(commands.contains(&"boot || goto boot_failed"));
}

#[test]
fn every_failure_says_so_and_exits_to_the_firmware() {
    let text = render_ipxe(&script()).expect("render");
    let commands = commands(&text);
    let boot = commands
        .iter()
        .position(|line| line.starts_with("boot "))
        .expect("boot");
    for block in commands[boot + 1..].chunks(3) {
        assert!(block[0].starts_with(':'), "{block:?}");
        assert!(block[1].starts_with("echo bootgate: ") && block[1].ends_with(" failed"));
        assert_eq!(block[2], "exit 1");
        let jump = format!("|| goto {}", &block[0][1..]);
        assert!(
            commands.iter().any(|line| line.ends_with(&jump)),
            "{jump} is used"
        );
    }
    for forbidden in ["shell", "menu", "net0", "prompt", "sleep"] {
        assert!(
            !commands.iter().any(|line| line.contains(forbidden)),
            "{forbidden}"
        );
    }
}

#[test]
fn the_script_beside_the_boot_program_names_the_servers_port() {
    let fetches = |port| {
        let text = render_autoexec(port).expect("render");
        let mut lines = commands(&text).into_iter();
        let fetch = lines.find(|line| line.starts_with("imgfetch"));
        fetch.expect("it fetches").to_owned()
    };
    let place = "${net${bg-number}/mac:hexhyp}/boot.ipxe";
    assert!(fetches(80).contains(&format!(" http://${{bg-server}}/boot/{place} ")));
    assert!(fetches(8080).contains(&format!(" http://${{bg-server}}:8080/boot/{place} ")));
}

#[test]
fn the_exit_script_gives_the_reason() {
    let text = render_exit("this machine boots from its disk").expect("render");
    assert_eq!(
        commands(&text),
        [
            "echo bootgate: this machine boots from its disk",
            "iseq ${platform} efi && exit 1 || exit 0",
        ]
    );
    assert!(render_exit("a || shell").is_err());
}

#[test]
fn values_that_could_add_commands_are_refused() {
    let with = |change: fn(&mut IpxeScript)| {
        let mut script = script();
        change(&mut script);
        render_ipxe(&script)
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    for (message, why) in [
        (
            with(|s| s.cmdline = "a\nshell".into()),
            "kernel command line `a\\nshell` has a line break",
        ),
        (with(|s| s.cmdline = "a\rshell".into()), "control character"),
        (with(|s| s.cmdline = "a\0".into()), "control character"),
        (
            with(|s| s.cmdline = "a || shell".into()),
            "command separator",
        ),
        (
            with(|s| s.cmdline = "a && shell".into()),
            "command separator",
        ),
        (
            with(|s| s.cmdline = "a ; shell".into()),
            "command separator",
        ),
        (with(|s| s.cmdline = "a #b".into()), "begins with `#`"),
        (
            with(|s| s.kernel_url = "http://x/a b".into()),
            "kernel URL `http://x/a b` is not one word",
        ),
        (with(|s| s.kernel_url = String::new()), "is not one word"),
        (
            with(|s| s.kernel_url = "--name".into()),
            "begins like an option",
        ),
        (with(|s| s.server_url = "http://x\n".into()), "server URL"),
        (
            with(|s| s.initrds[0].name = "a b".into()),
            "initrd name `a b` is not a name",
        ),
        (with(|s| s.initrds[0].name = "-a".into()), "is not a name"),
        (with(|s| s.initrds[0].url = "x || y".into()), "initrd URL"),
        (with(|s| s.nonce = AttemptId::new("")), "nonce"),
    ] {
        assert!(message.contains(why), "`{message}` does not say `{why}`");
    }
}

#[test]
fn harmless_values_pass() {
    let mut script = script();
    script.cmdline = "quiet a=b|c&d;e uuid=${uuid} x=\"1 2\" {{nonce}}".to_owned();
    script.initrds.clear();
    let text = render_ipxe(&script).expect("render");
    assert!(
        text.contains(&script.cmdline),
        "taken over as it is, braces too"
    );
    assert!(
        !commands(&text)
            .iter()
            .any(|line| line.starts_with("initrd "))
    );
}

#[test]
fn custom_templates_know_the_same_names_and_no_others() {
    let text = render_custom(
        "#!ipxe\n# {{no such name}}\nchain {{ server_url }}/x?n={{nonce}}",
        &script(),
    );
    let wanted =
        "#!ipxe\n# {{no such name}}\nchain http://10.77.0.1/x?n=0123456789abcdef0123456789abcdef\n";
    assert_eq!(text.expect("render"), wanted);
    assert_eq!(
        render_custom("#!ipxe\n\nchain {{serverurl}}", &script()),
        Err(ScriptError::UnknownName {
            line: 3,
            name: "serverurl".to_owned()
        })
    );
    assert_eq!(
        render_custom("#!ipxe\nchain {{server_url\n}}", &script()),
        Err(ScriptError::Unclosed { line: 2 })
    );
}

#[test]
fn templates_are_plain_ascii_in_lines_an_old_ipxe_takes() {
    for template in [BOOT_TEMPLATE, EXIT_TEMPLATE] {
        assert!(template.is_ascii());
        assert!(!template.contains('\r') && !template.contains('\t'));
    }
}
