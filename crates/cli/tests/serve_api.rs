//! A server that is asked over the network: from elsewhere, by strangers, and by a program that tries everything.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bootgate_testkit::{in_namespaces, require_commands, require_root, skip};
use lab::{BOOTGATE, IFACE, Lab, MAC, SERVER, sh, told};
use serde_json::Value;

const PASSWORD: &str = "correct horse";
/// Where the door is.
const URL: &str = "https://10.77.0.1:8443";

/// A lab whose door is on the network, with a certificate of its own.
fn with_door(more: &str) -> Lab {
    sh(&format!(
        "ip link set lo up; ip link add {IFACE} type veth peer name cli0; ip addr add {SERVER}/24 dev {IFACE}; ip link set cli0 up; ip link set {IFACE} up"
    ));
    let lab = Lab::new(&format!(
        r#"
[state]
folder = "@/state"

[[interface]]
name = "{IFACE}"
dhcp = "proxy"

[[script]]
name = "menu"
path = "menu.ipxe"

[api]
listen = "{SERVER}:8443"
certificate = "cert.pem"
key = "key.pem"
{more}
"#
    ));
    fs::write(
        lab.path("menu.ipxe"),
        "#!ipxe\nchain {{server_url}}/api/v1/attempts/{{nonce}}/x\n",
    )
    .unwrap();
    certificate(&lab, &[SERVER]);
    lab
}

fn certificate(lab: &Lab, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(lab.path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(lab.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(lab.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A command from elsewhere: it has no state here.
fn far(lab: &Lab, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(BOOTGATE)
        .args(arguments)
        .env("BOOTGATE_STATE", "/nonexistent")
        .env("BOOTGATE_SERVER", URL)
        .env("BOOTGATE_CA", lab.path("cert.pem"))
        .env("XDG_CONFIG_HOME", lab.path("config"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run bootgate");
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().expect("its end")
}

/// A command from elsewhere that must succeed.
fn good(lab: &Lab, arguments: &[&str]) -> String {
    let output = far(lab, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A command from elsewhere that must be refused with this exit code and these words.
fn refused(lab: &Lab, arguments: &[&str], code: i32, words: &[&str]) {
    let output = far(lab, arguments, "");
    let text = told(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for words in words {
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

/// Adds a user on the server's own host.
fn add_user(lab: &Lab, name: &str, role: &str) {
    let state = lab.path("state");
    let line = format!(
        "echo '{PASSWORD}' | {BOOTGATE} user add {name} --role {role} --state {}",
        state.display()
    );
    sh(&line);
}

/// A token in a file, made on the server's own host.
fn token(lab: &Lab, role: &str) -> PathBuf {
    let text = lab.bootgate(&["token", "new", "--role", role, "--name", role]);
    assert!(
        text.starts_with("bgt_") && text.trim().len() == 68,
        "{text}"
    );
    let file = lab.path(&format!("{role}.token"));
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn operators_do_from_elsewhere_what_they_do_here() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "curl");
    assert!(in_namespaces(|| {
        let mut lab = with_door("");
        lab.serve();
        assert!(lab.log().contains("nobody can log in over the network yet"));
        refused(
            &lab,
            &["status"],
            2,
            &["who asks is not known", "bootgate login"],
        );
        add_user(&lab, "ada", "operator");
        let wrong = far(&lab, &["login", "--user", "ada"], "wrong horse\n");
        assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
        let login = far(
            &lab,
            &["login", "--user", "ada", "--name", "desk"],
            &format!("{PASSWORD}\n"),
        );
        assert!(login.status.success(), "{}", told(&login));
        assert!(told(&login).contains("logged in as operator; token `ada.desk`"));
        let kept = lab.path("config/bootgate/10.77.0.1-8443.token");
        let mode = fs::metadata(&kept).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);

        good(
            &lab,
            &[
                "machine", "set", MAC, "--mode", "script", "--script", "menu", "--name", "node1",
            ],
        );
        let here = |arguments: &[&str]| lab.bootgate(arguments);
        for arguments in [
            &["machine", "list", "--format", "json"][..],
            &["machine", "show", "node1", "--format", "json"],
            &["attempt", "list", "--format", "json"],
            &["lease", "list", "--format", "json"],
            &["explain", "node1", "--format", "json"],
        ] {
            assert_eq!(good(&lab, arguments), here(arguments), "{arguments:?}");
        }
        let status = good(&lab, &["status"]);
        assert!(
            status.contains(URL) && status.contains("machines       1"),
            "{status}"
        );
        refused(
            &lab,
            &["machine", "show", "node2"],
            2,
            &["no machine is named `node2`"],
        );
        // What is an administrator's stays so.
        for arguments in [
            &["machine", "forget", "node1"][..],
            &["token", "list"],
            &["user", "list"],
            &["state", "backup", "/tmp/never"],
        ] {
            refused(
                &lab,
                arguments,
                2,
                &["`ada.desk` is operator, and this needs admin"],
            );
        }
        let admin = token(&lab, "admin");
        let listed = good(&lab, &["token", "list", "--token-file", text(&admin)]);
        assert!(
            listed.contains("ada.desk") && !listed.contains("bgt_"),
            "{listed}"
        );
        let copy = lab.path("copy.db");
        good(
            &lab,
            &["state", "backup", text(&copy), "--token-file", text(&admin)],
        );
        assert!(copy.is_file());
        refused(
            &lab,
            &["state", "restore", text(&copy)],
            2,
            &["cannot be restored from here"],
        );
        refused(
            &lab,
            &["state", "backup", "copy.db"],
            2,
            &["name an absolute path there"],
        );
        // Bytes come there and back.
        let file = lab.path("tool.bin");
        fs::write(&file, vec![7; 3 << 20]).unwrap();
        good(
            &lab,
            &["artifact", "upload", text(&file), "--name", "tool.bin"],
        );
        assert!(good(&lab, &["artifact", "list"]).contains("tool.bin"));
        let back = lab.path("back.bin");
        let token = fs::read_to_string(&admin).unwrap();
        sh(&format!(
            "curl -sf --cacert {} -o {} -H 'Authorization: Bearer {}' {URL}/api/v1/artifacts/tool.bin/content",
            lab.path("cert.pem").display(),
            back.display(),
            token.trim()
        ));
        assert_eq!(fs::read(&back).unwrap(), fs::read(&file).unwrap());
        refused(
            &lab,
            &["artifact", "delete", "tool.bin"],
            2,
            &["this needs admin"],
        );
        // The user goes, and the login with them.
        lab.bootgate(&["user", "remove", "ada"]);
        refused(
            &lab,
            &["machine", "list"],
            2,
            &["the token is not known, or it ended"],
        );
        lab.stop();
        refused(&lab, &["status"], 3, &["no server listens there"]);
    }));
}

#[test]
fn what_is_wrong_with_a_connection_is_said_with_what_to_do() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    assert!(in_namespaces(|| {
        let mut lab = with_door("requests_per_second = 1");
        lab.serve();
        let viewer = token(&lab, "viewer");
        let file = ["--token-file", text(&viewer)];
        let status = |more: &[&'static str]| [&["status"], &file[..], more].concat();
        // Another authority, another name, and no TLS.
        let other = lab.path("other.pem");
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        fs::write(&other, made.cert.pem()).unwrap();
        refused(
            &lab,
            &["status", file[0], file[1], "--ca", text(&other)],
            3,
            &["invalid peer certificate", "--ca FILE"],
        );
        refused(
            &lab,
            &["status", file[0], file[1], "--ca", text(&viewer)],
            2,
            &["BEGIN CERTIFICATE"],
        );
        refused(
            &lab,
            &status(&["--server", "https://10.77.0.1:80"]),
            3,
            &["does not speak TLS"],
        );
        refused(
            &lab,
            &status(&["--server", "http://10.77.0.1:8443"]),
            2,
            &["show the token", "use https"],
        );
        refused(
            &lab,
            &status(&["--server", "https://10.77.0.1:1"]),
            3,
            &["no server listens there"],
        );
        // A token that others may read is one that they may have read.
        fs::set_permissions(&viewer, fs::Permissions::from_mode(0o640)).unwrap();
        refused(
            &lab,
            &status(&[]),
            2,
            &["can be read by others (mode 640)", "chmod 600"],
        );
        fs::set_permissions(&viewer, fs::Permissions::from_mode(0o600)).unwrap();
        refused(
            &lab,
            &["machine", "set", MAC, "--mode", "local", file[0], file[1]],
            2,
            &["`viewer` is viewer, and this needs operator"],
        );
        // Too much is too much, and says when it is not.
        let end = std::time::Instant::now() + lab::PATIENCE;
        loop {
            let output = far(&lab, &status(&[]), "");
            if output.status.code() == Some(3) {
                assert!(
                    told(&output).contains("too many requests"),
                    "{}",
                    told(&output)
                );
                assert!(told(&output).contains("try again in"), "{}", told(&output));
                break;
            }
            assert!(output.status.success(), "{}", told(&output));
            assert!(std::time::Instant::now() < end, "nothing is refused");
        }
        lab.stop();
        // The name in the certificate is another one.
        certificate(&lab, &["elsewhere"]);
        lab.serve();
        refused(
            &lab,
            &status(&[]),
            3,
            &[
                "not valid for name",
                "name the server as its certificate does",
            ],
        );
    }));
}

/// Everything that must be in no log: what people type and what machines are given.
#[test]
fn no_secret_is_in_a_log_or_an_event() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "curl");
    assert!(in_namespaces(|| {
        let mut lab = with_door("");
        lab.serve();
        add_user(&lab, "ada", "operator");
        let admin = token(&lab, "admin");
        let login = far(&lab, &["login", "--user", "ada"], &format!("{PASSWORD}\n"));
        assert!(login.status.success(), "{}", told(&login));
        far(&lab, &["login", "--user", "ada"], "wrong-password-1\n");
        let wrong = "bgt_00000000000000000000000000000000000000000000000000000000000badbad";
        let curl = |more: &str| sh(&format!("curl -sk -m 3 {more} || true"));
        curl(&format!(
            "-H 'Authorization: Bearer {wrong}' {URL}/api/v1/status"
        ));
        curl(&format!(
            "-H 'Cookie: bootgate-session=stolen-cookie-1' {URL}/api/v1/status"
        ));
        let jar = curl(&format!(
            "-c - -o /dev/null -d '{{\"user\":\"ada\",\"password\":\"{PASSWORD}\"}}' {URL}/api/v1/login"
        ));
        let cookie = jar.split_whitespace().last().expect("a cookie").to_owned();
        assert!(cookie.len() > 16, "{jar}");
        // A machine is given a nonce, and everybody misuses it.
        good(
            &lab,
            &[
                "machine", "set", MAC, "--mode", "script", "--script", "menu",
            ],
        );
        let mac = MAC.replace(':', "-");
        let script = curl(&format!("http://{SERVER}/boot/{mac}/boot.ipxe"));
        let nonce = script.split("/attempts/").nth(1).expect(&script);
        let nonce = nonce.split('/').next().unwrap().to_owned();
        assert_eq!(nonce.len(), 32, "{script}");
        for call in [
            "hello",
            "complete",
            "failure",
            "inventory",
            "progress",
            "nothing",
        ] {
            curl(&format!(
                "-d '{{}}' http://{SERVER}/api/v1/attempts/{nonce}/{call}"
            ));
            curl(&format!(
                "--interface 127.0.0.1 -d '{{}}' http://{SERVER}/api/v1/attempts/{nonce}/{call}"
            ));
        }
        for call in ["plan", "answer", "installed", "installed?failed=x"] {
            curl(&format!("http://{SERVER}/api/v1/attempts/{nonce}/{call}"));
        }
        curl(&format!(
            "-X PUT http://{SERVER}/api/v1/attempts/{nonce}/hello"
        ));
        curl(&format!("http://{SERVER}/artifacts/{nonce}"));
        let attempts = lab.attempts();
        let id = attempts.last().expect("an attempt")["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let events = lab.events(&id);
        assert!(events.len() > 3, "{events:?}");
        lab.stop();
        let tokens = [
            fs::read_to_string(&admin).unwrap(),
            fs::read_to_string(lab.path("config/bootgate/10.77.0.1-8443.token")).unwrap(),
        ];
        let secrets: Vec<&str> = tokens
            .iter()
            .map(|token| token.trim())
            .chain([
                PASSWORD,
                "wrong-password-1",
                wrong,
                "stolen-cookie-1",
                &cookie,
            ])
            .collect();
        let log = lab.log();
        let told = serde_json::to_string(&events).unwrap();
        for secret in secrets.iter().copied().chain([nonce.as_str()]) {
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
            assert!(!told.contains(secret), "{secret} is in the events:\n{told}");
        }
        assert!(log.contains("a login from 10.77.0.1 was refused"), "{log}");
        // Nor in the state, but for the nonce, which a server that comes back must know.
        for file in ["state/bootgate.db", "state/accounts.json"] {
            let bytes = fs::read(lab.path(file)).unwrap();
            for secret in &secrets {
                let found = bytes
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{secret} is in {file}");
            }
        }
    }));
}

/// Schemathesis tries what the description allows and what it does not.
#[test]
fn the_interface_is_as_it_is_described_and_breaks_by_no_request() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip");
    let program = lab::root().join("target/tools/schemathesis/bin/schemathesis");
    if !program.is_file() {
        skip!("schemathesis is not in target/tools: run ./ci/test once");
    }
    assert!(in_namespaces(|| {
        let mut lab =
            with_door("requests_per_second = 0\nconnections = 4096\nconnections_per_client = 4096");
        lab.serve();
        let admin = fs::read_to_string(token(&lab, "admin")).unwrap();
        lab.bootgate(&["machine", "set", MAC, "--mode", "local", "--name", "node1"]);
        let output = Command::new(&program)
            .args(["run", &format!("{URL}/api/v1/openapi.json")])
            .arg(format!("--tls-verify={}", lab.path("cert.pem").display()))
            .arg("--header")
            .arg(format!("Authorization: Bearer {}", admin.trim()))
            .args([
                "--seed",
                "1",
                "--max-examples",
                "20",
                "--phases",
                "coverage,fuzzing",
            ])
            // A name that is no machine's is refused with words, not by a schema; and the library that reads JSON takes a
            // list for an object inside of another.
            .args([
                "--checks",
                "all",
                "--exclude-checks",
                "positive_data_acceptance,negative_data_rejection",
            ])
            // One writes files on the host, the other has no end.
            .args([
                "--exclude-path",
                "/api/v1/backup",
                "--exclude-path",
                "/api/v1/events",
            ])
            .args([
                "--continue-on-failure",
                "--no-color",
                "--warnings",
                "off",
                "--request-timeout",
                "30",
            ])
            .current_dir(lab.folder.path())
            .output()
            .expect("run schemathesis");
        let said = told(&output);
        assert!(output.status.success(), "{said}\n{}", lab.log());
        let tested = said
            .lines()
            .find(|line| line.contains("Selected:"))
            .expect(&said);
        assert!(
            tested.contains("/46") || !tested.contains("Selected: 0"),
            "{tested}"
        );
        let status: Value = lab.json(&["status"]);
        assert!(
            status["server"].is_object(),
            "the server is there: {status}"
        );
    }));
}
