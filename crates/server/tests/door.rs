//! The network door: who gets in, and who may do what.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "common/door.rs"]
mod client;
mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootgate_api::access::{NewToken, Role, Secret, UserChange};
use bootgate_api::control::paths;
use bootgate_server::control::Control;
use bootgate_server::door::{
    ACCOUNTS, AccountError, Accounts, Door, DoorConfig, TlsFiles, openapi,
};
use bootgate_server::lab::now;
use bootgate_store::sqlite::Sqlite;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use client::{Answer, ask, begin_on};
use common::PATIENCE;

const PASSWORD: &str = "correct horse";

/// A door over a state in a folder of its own.
struct House {
    door: Door,
    accounts: Arc<Accounts>,
    folder: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: impl FnOnce(&mut DoorConfig, &std::path::Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let store = Arc::new(Sqlite::open(&state).unwrap());
        let accounts = Arc::new(Accounts::open(&state).unwrap());
        let router = Control::stored(store)
            .with_accounts(Arc::clone(&accounts))
            .router();
        let mut config = DoorConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            requests_per_second: 0,
            ..DoorConfig::default()
        };
        change(&mut config, folder.path());
        let door = Door::start(config, Arc::clone(&accounts), router).await;
        Self {
            door: door.expect("the door opens"),
            accounts,
            folder,
        }
    }

    fn at(&self) -> SocketAddr {
        self.door.addresses()[0]
    }

    fn token(&self, role: Role) -> String {
        let new = NewToken {
            name: format!("{role}-{}", self.accounts.tokens().len()),
            role,
            expires_in: None,
        };
        self.accounts.add_token(&new, now()).unwrap().text.0
    }

    fn user(&self, name: &str, role: Role) {
        let password = Secret(PASSWORD.to_owned());
        self.accounts
            .add_user(name, role, &password, now())
            .unwrap();
    }

    async fn bearer(&self, line: &str, token: &str) -> Answer {
        let value = format!("Bearer {token}");
        ask(self.at(), line, &[("authorization", &value)], "").await
    }

    async fn login(&self, user: &str, password: &str) -> Answer {
        let body = json!({ "user": user, "password": password }).to_string();
        ask(self.at(), &format!("POST {}", paths::LOGIN), &[], body).await
    }
}

/// The operations of the document: method, path with something in place of its parameters, and role.
fn operations() -> Vec<(String, String, Option<Role>)> {
    let document = openapi();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let words: Vec<_> = path
                .split('/')
                .map(|word| {
                    if word.starts_with('{') {
                        "nobody"
                    } else {
                        word
                    }
                })
                .collect();
            let role = operation["x-role"]
                .as_str()
                .map(|role| role.parse().unwrap());
            assert_eq!(role.is_none(), operation["security"] == json!([]), "{path}");
            all.push((method.to_uppercase(), words.join("/"), role));
        }
    }
    assert!(all.len() > 40, "{}", all.len());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_strangers_and_who_has_too_little_of_a_role() {
    let house = House::open().await;
    let tokens = Role::ALL.map(|role| (role, house.token(role)));
    for (method, path, needed) in operations() {
        let line = format!("{method} {path}");
        let Some(needed) = needed else {
            assert!(path.starts_with(paths::LOGIN), "{path} is open to anybody");
            continue;
        };
        let stranger = ask(house.at(), &line, &[], "").await;
        assert_eq!(stranger.status, 401, "{line}: {stranger:?}");
        assert_eq!(
            stranger.header("www-authenticate"),
            Some("bearer realm=\"bootgate\"")
        );
        assert!(stranger.json()["error"].is_string());
        for (role, token) in &tokens {
            let answer = house.bearer(&line, token).await;
            let refused = answer.status == 403;
            assert_eq!(refused, *role < needed, "{line} as {role}: {answer:?}");
            assert!(
                answer.status != 401 && answer.status != 405,
                "{line}: {answer:?}"
            );
        }
    }
    // What is not there is told to nobody who is not known.
    for path in ["/", "/api/v1/nothing", "/artifacts/x", "/api/v1/machines/"] {
        let line = format!("GET {path}");
        assert_eq!(ask(house.at(), &line, &[], "").await.status, 401, "{path}");
        assert_eq!(
            house.bearer(&line, &tokens[0].1).await.status,
            404,
            "{path}"
        );
    }
}

/// What must stay with administrators, and with operators, whoever changes the table.
#[test]
fn the_roles_of_what_matters_are_these() {
    for (method, path, needed) in operations() {
        let line = format!("{method} {path}");
        let about = |word: &str| path.starts_with(&format!("/api/v1/{word}"));
        let administration = ["users", "tokens", "backup", "collect", "reload"];
        let wanted = match method.as_str() {
            _ if about("login") => None,
            _ if administration.into_iter().any(about) => Some(Role::Admin),
            "DELETE" if !about("uploads") => Some(Role::Admin),
            "GET" => Some(Role::Viewer),
            _ if about("logout") => Some(Role::Viewer),
            _ => Some(Role::Operator),
        };
        assert_eq!(needed, wanted, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_ours_opens_nothing() {
    let house = House::open().await;
    let token = house.token(Role::Admin);
    let upper = token.to_uppercase();
    let longer = format!("{token}0");
    for wrong in ["", "bgt_", &token[..40], &upper, &longer, &token[4..]] {
        let answer = house.bearer("GET /api/v1/status", wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    for header in [format!("Basic {token}"), token.clone(), "Bearer".to_owned()] {
        let answer = ask(
            house.at(),
            "GET /api/v1/status",
            &[("authorization", &header)],
            "",
        )
        .await;
        assert_eq!(answer.status, 401, "{header}");
    }
    assert_eq!(house.bearer("GET /api/v1/status", &token).await.status, 200);
    assert!(house.accounts.revoke("admin-0").unwrap());
    assert_eq!(house.bearer("GET /api/v1/status", &token).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_at_its_time() {
    let house = House::open().await;
    let long_ago = bootgate_api::UnixMicros(now().0 - 10_000_000);
    let mut new = NewToken {
        name: "short".to_owned(),
        role: Role::Admin,
        expires_in: Some(9),
    };
    let ended = house.accounts.add_token(&new, long_ago).unwrap().text.0;
    assert_eq!(house.bearer("GET /api/v1/status", &ended).await.status, 401);
    // The name of one that ended is free again.
    new.expires_in = Some(3600);
    let good = house.accounts.add_token(&new, now()).unwrap().text.0;
    assert_eq!(house.bearer("GET /api/v1/status", &good).await.status, 200);
    assert!(matches!(
        house.accounts.add_token(&new, now()),
        Err(AccountError::Conflict { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_cookie_and_a_word_that_no_other_site_knows() {
    let house = House::open().await;
    house.user("ada", Role::Operator);
    let login = house.login("ada", PASSWORD).await;
    assert_eq!(login.status, 200, "{login:?}");
    let set = login.header("set-cookie").expect("a cookie").to_owned();
    for attribute in ["httponly", "secure", "samesite=strict", "path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    // The head is in lower case here, and the cookie's value is not.
    let open = client::begin(
        house.at(),
        &format!("POST {}", paths::LOGIN),
        &[],
        &json!({ "user": "ada", "password": PASSWORD }).to_string(),
    )
    .await;
    let cookie = open
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|value| value.split(';').next())
        .expect("a cookie")
        .to_owned();
    let with = [("cookie", cookie.as_str())];
    let who = ask(house.at(), &format!("GET {}", paths::WHOAMI), &with, "").await;
    assert_eq!(who.json()["name"], "ada");
    let csrf = who.json()["csrf"].as_str().unwrap().to_owned();

    let patch = "PATCH /api/v1/machines/52:54:00:00:00:01";
    let body = r#"{"boot":{"mode":"local"}}"#;
    for (headers, status) in [
        (vec![], 403),
        (vec![("x-csrf-token", "")], 403),
        (vec![("x-csrf-token", &csrf[..10])], 403),
        (
            vec![
                ("x-csrf-token", csrf.as_str()),
                ("sec-fetch-site", "cross-site"),
            ],
            403,
        ),
        (
            vec![
                ("x-csrf-token", csrf.as_str()),
                ("origin", "https://elsewhere"),
            ],
            403,
        ),
        (
            vec![("x-csrf-token", csrf.as_str()), ("origin", "https://door")],
            200,
        ),
        (vec![("x-csrf-token", csrf.as_str())], 200),
    ] {
        let headers: Vec<_> = with.iter().copied().chain(headers).collect();
        let answer = ask(house.at(), patch, &headers, body).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    // Another password ends the session; so does a logout.
    let change = UserChange {
        password: Some(Secret("another one".to_owned())),
        role: None,
    };
    house.accounts.change_user("ada", &change).unwrap();
    let answer = ask(house.at(), "GET /api/v1/status", &with, "").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_session_and_no_other() {
    let house = House::open().await;
    house.user("ada", Role::Viewer);
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let body = json!({ "user": "ada", "password": PASSWORD }).to_string();
        let open = client::begin(house.at(), &format!("POST {}", paths::LOGIN), &[], &body).await;
        let line = open
            .head
            .lines()
            .find(|line| line.starts_with("set-cookie: "));
        let value = line.unwrap()["set-cookie: ".len()..].split(';').next();
        cookies.push(value.unwrap().to_owned());
    }
    let status = async |cookie: &str| {
        let answer = ask(house.at(), "GET /api/v1/status", &[("cookie", cookie)], "").await;
        answer.status
    };
    assert_eq!(status(&cookies[0]).await, 200);
    let headers = [("cookie", cookies[0].as_str())];
    let who = ask(house.at(), &format!("GET {}", paths::WHOAMI), &headers, "").await;
    let csrf = who.json()["csrf"].as_str().unwrap().to_owned();
    let headers = [("cookie", cookies[0].as_str()), ("x-csrf-token", &csrf)];
    let out = ask(house.at(), &format!("POST {}", paths::LOGOUT), &headers, "").await;
    assert_eq!(out.json(), json!({ "known": true }));
    assert_eq!(status(&cookies[0]).await, 401);
    assert_eq!(status(&cookies[1]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_for_a_program_gives_a_token_that_never_outdoes_its_user() {
    let house = House::open().await;
    house.user("ada", Role::Admin);
    let body = json!({ "user": "ada", "password": PASSWORD, "name": "laptop" }).to_string();
    let line = format!("POST {}", paths::LOGIN_TOKEN);
    let made = ask(house.at(), &line, &[], body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["token"]["name"], "ada.laptop");
    let first = made.json()["text"].as_str().unwrap().to_owned();
    assert!(
        first.starts_with("bgt_") && first.len() == 4 + 64,
        "{first}"
    );
    assert_eq!(house.bearer("GET /api/v1/users", &first).await.status, 200);
    // Logging in again from there takes the former token's place.
    let again = ask(house.at(), &line, &[], body).await;
    let second = again.json()["text"].as_str().unwrap().to_owned();
    assert_eq!(house.bearer("GET /api/v1/users", &first).await.status, 401);
    assert_eq!(house.bearer("GET /api/v1/users", &second).await.status, 200);
    let demoted = UserChange {
        role: Some(Role::Viewer),
        password: None,
    };
    house.accounts.change_user("ada", &demoted).unwrap();
    assert_eq!(house.bearer("GET /api/v1/users", &second).await.status, 403);
    assert_eq!(
        house.bearer("GET /api/v1/status", &second).await.status,
        200
    );
    assert!(house.accounts.remove_user("ada").unwrap());
    assert_eq!(
        house.bearer("GET /api/v1/status", &second).await.status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_not_tried_for_ever() {
    let house = House::open().await;
    house.user("ada", Role::Admin);
    let mut refused = None;
    for _ in 0..40 {
        let answer = house.login("ada", "wrong horse").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let refused = refused.expect("too many");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    // The right one is not tried either, or it would tell that it is right.
    assert_eq!(house.login("ada", PASSWORD).await.status, 429);
    // Tokens are not passwords.
    let token = house.token(Role::Viewer);
    assert_eq!(house.bearer("GET /api/v1/status", &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_takes_as_long_as_a_known_one() {
    let house = House::open().await;
    house.user("ada", Role::Admin);
    // The first look makes the hash that strangers are compared with.
    house.login("eve", "x").await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..3 {
        for (user, fastest) in ["ada", "nobody"].iter().zip(&mut fastest) {
            let began = Instant::now();
            let answer = house.login(user, "wrong horse").await;
            assert_eq!(answer.status, 401);
            *fastest = (*fastest).min(began.elapsed());
        }
    }
    let [known, unknown] = fastest;
    assert!(unknown > known / 3 && known > unknown / 3, "{fastest:?}");
    let shape = |answer: Answer| (answer.status, answer.json());
    let known = shape(house.login("ada", "wrong horse").await);
    assert_eq!(known, shape(house.login("nobody", "wrong horse").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_address_are_limited() {
    let house = House::with(|config, _| config.requests_per_second = 2).await;
    let token = house.token(Role::Viewer);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(house.bearer("GET /api/v1/status", &token).await);
    }
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    let late: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(good >= 20 && good + late.len() == 30, "{good}");
    let late = late.first().expect("one too many");
    assert_eq!(late.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_limited_and_free_again_at_their_end() {
    let house = House::with(|config, _| config.connections_per_client = 2).await;
    let token = house.token(Role::Viewer);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(house.at()).await.unwrap();
        // It is in its place when it is answered.
        let ask = format!(
            "GET /api/v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut third = TcpStream::connect(house.at()).await.unwrap();
    let mut end = Vec::new();
    let read = tokio::time::timeout(PATIENCE, third.read_to_end(&mut end)).await;
    // Closed, or reset where bytes were on their way.
    assert!(read.expect("an end").map_or(true, |read| read == 0));
    held.clear();
    let until = Instant::now() + PATIENCE;
    loop {
        let stream = TcpStream::connect(house.at()).await.unwrap();
        let bearer = format!("Bearer {token}");
        let asked = begin_on(
            stream,
            "GET /api/v1/status",
            &[("authorization", &bearer)],
            "",
        )
        .await;
        if asked.is_ok_and(|open| open.status == 200) {
            break;
        }
        assert!(Instant::now() < until, "the places are not given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_or_too_much_is_not_waited_for() {
    let house = House::with(|config, _| config.idle = Duration::from_millis(300)).await;
    let token = house.token(Role::Operator);
    for half in [
        "GET /api/v1/status HTTP/1.1\r\nhost: x\r\n".to_owned(),
        format!(
            "POST /api/v1/machines/x/wake HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 10\r\n\r\n{{"
        ),
    ] {
        let mut stream = TcpStream::connect(house.at()).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
        let _ = read.expect("the connection ends");
        let text = String::from_utf8_lossy(&text);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(100_000));
    let bearer = format!("Bearer {token}");
    let answer = ask(
        house.at(),
        "PATCH /api/v1/machines/52:54:00:00:00:01",
        &[("authorization", &bearer)],
        large,
    )
    .await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.json()["error"].is_string());
}

#[test]
fn accounts_hold_no_secret_and_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(folder.path()).unwrap();
    let password = Secret(PASSWORD.to_owned());
    accounts
        .add_user("ada", Role::Admin, &password, now())
        .unwrap();
    let new = NewToken {
        name: "ci".to_owned(),
        role: Role::Viewer,
        expires_in: Some(60),
    };
    let made = accounts.add_token(&new, now()).unwrap();
    assert!(!format!("{made:?} {password:?}").contains(&made.text.0));
    let path = folder.path().join(ACCOUNTS);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(&made.text.0));
    assert!(text.contains("$argon2id$v=19$"), "{text}");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    // What was acknowledged is there for the next process.
    let again = Accounts::open(folder.path()).unwrap();
    assert_eq!(again.users(), accounts.users());
    assert_eq!(again.tokens(), accounts.tokens());
    // What others may have changed is not believed.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Accounts::open(folder.path()),
        Err(AccountError::Unreadable { .. })
    ));
    for bad in [
        "",
        "{}",
        "[1]",
        &text.replace("\"version\": 1", "\"version\": 2"),
    ] {
        std::fs::write(&path, bad).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Accounts::open(folder.path()).is_err(), "{bad}");
    }
}

#[test]
fn a_change_that_cannot_be_written_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(folder.path()).unwrap();
    let password = Secret(PASSWORD.to_owned());
    // The file's name is a folder's, so nothing can be put in its place.
    std::fs::create_dir(folder.path().join(ACCOUNTS)).unwrap();
    let added = accounts.add_user("ada", Role::Admin, &password, now());
    assert!(matches!(added, Err(AccountError::Io { .. })));
    assert!(accounts.is_empty());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half written is left");
    for (name, password) in [
        ("", PASSWORD),
        ("-x", PASSWORD),
        ("a b", PASSWORD),
        ("ada", "short"),
        (&"x".repeat(65), PASSWORD),
    ] {
        let password = Secret(password.to_owned());
        let added = accounts.add_user(name, Role::Admin, &password, now());
        assert!(matches!(added, Err(AccountError::Bad { .. })), "{name}");
    }
}

/// A certificate for `names`, and its key.
fn certificate(folder: &std::path::Path, names: &[&str]) -> (TlsFiles, CertificateDer<'static>) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    (files, made.cert.der().clone())
}

async fn over_tls(
    to: SocketAddr,
    root: &CertificateDer<'static>,
    token: &str,
) -> std::io::Result<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let bearer = format!("Bearer {token}");
    let open = begin_on(
        stream,
        "GET /api/v1/status",
        &[("authorization", &bearer)],
        "",
    )
    .await?;
    Ok(open.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_read_anew_without_a_restart() {
    let mut first = None;
    let house = House::with(|config, folder| {
        let (files, root) = certificate(folder, &["localhost"]);
        config.tls = Some(files);
        first = Some(root);
    })
    .await;
    let (first, token) = (first.unwrap(), house.token(Role::Viewer));
    assert_eq!(over_tls(house.at(), &first, &token).await.unwrap(), 200);
    // Nothing is said in the clear.
    let mut stream = TcpStream::connect(house.at()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .unwrap();
    assert!(!text.starts_with(b"HTTP"), "{text:?}");

    let (files, second) = certificate(house.folder.path(), &["localhost"]);
    assert_eq!(over_tls(house.at(), &first, &token).await.unwrap(), 200);
    house.door.reload_certificate().unwrap();
    assert!(over_tls(house.at(), &first, &token).await.is_err());
    assert_eq!(over_tls(house.at(), &second, &token).await.unwrap(), 200);
    // What cannot be used takes no one's place.
    std::fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let error = house.door.reload_certificate().unwrap_err().to_string();
    assert!(error.contains("cert.pem"), "{error}");
    assert_eq!(over_tls(house.at(), &second, &token).await.unwrap(), 200);
    tokio::time::timeout(PATIENCE, house.door.stop())
        .await
        .unwrap();
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = certificate(folder.path(), &["localhost"]);
    files.check().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (others, _) = certificate(elsewhere.path(), &["localhost"]);
    let nothing = PathBuf::from("/nonexistent.pem");
    for (certificate, key) in [
        (&files.certificate, &others.key),
        (&nothing, &files.key),
        (&files.certificate, &nothing),
        (&files.key, &files.key),
        (&files.certificate, &files.certificate),
    ] {
        let pair = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        assert!(pair.check().is_err(), "{pair:?}");
    }
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = files.check().unwrap_err().to_string();
    assert!(error.contains("chmod"), "{error}");
}

/// The description is part of the documentation; `bootgate api openapi` prints it.
#[test]
fn the_description_in_the_documentation_is_that_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let written: Value = serde_json::from_str(&written).unwrap_or_default();
    assert!(
        written == openapi(),
        "write it anew: bootgate api openapi > docs/openapi.json"
    );
}
