//! The QMP client against transcripts of QEMU 7.2 and against what QEMU should never say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::time::Duration;

use bootgate_target::qemu::qmp::{Qmp, QmpError, QmpEvent};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(5);
const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"Debian 1:7.2+dfsg-7+deb12u18+b3\"}, \"capabilities\": [\"oob\"]}}\r\n";

/// QEMU's side of a connection.
struct Qemu(BufReader<DuplexStream>);

impl Qemu {
    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The next command's name and id.
    async fn hear(&mut self) -> (String, Value) {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let command: Value = serde_json::from_str(&line).unwrap();
        (
            command["execute"].as_str().unwrap().to_owned(),
            command["id"].clone(),
        )
    }
}

async fn connected() -> (Qemu, Qmp, mpsc::UnboundedReceiver<QmpEvent>) {
    let (ours, theirs) = duplex(64);
    let mut qemu = Qemu(BufReader::new(theirs));
    let greet = async {
        qemu.say(GREETING).await;
        let (command, id) = qemu.hear().await;
        assert_eq!(command, "qmp_capabilities");
        qemu.say(&format!("{{\"return\": {{}}, \"id\": {id}}}\r\n"))
            .await;
    };
    let (connected, ()) = tokio::join!(Qmp::connect(ours, LIMIT), greet);
    let (qmp, events) = connected.unwrap();
    (qemu, qmp, events)
}

#[tokio::test]
async fn events_between_command_and_reply_are_passed_on_known_or_not() {
    let (mut qemu, qmp, mut events) = connected().await;
    let answer = async {
        let (command, id) = qemu.hear().await;
        assert_eq!(command, "cont");
        qemu.say("{\"timestamp\": {\"seconds\": 1795257293, \"microseconds\": 21586}, \"event\": \"RESUME\"}\r\n").await;
        qemu.say("{\"event\": \"FROM_THE_FUTURE\", \"data\": {\"a\": [1, {\"b\": null}]}}\r\n")
            .await;
        qemu.say(&format!("{{\"return\": {{}}, \"id\": {id}}}\r\n"))
            .await;
    };
    let (reply, ()) = tokio::join!(qmp.execute("cont", Value::Null, LIMIT), answer);
    assert_eq!(reply, Ok(json!({})));
    assert_eq!(events.recv().await.unwrap().name, "RESUME");
    let unknown = events.recv().await.unwrap();
    assert_eq!(unknown.name, "FROM_THE_FUTURE");
    assert_eq!(unknown.data, json!({ "a": [1, { "b": null }] }));
}

#[tokio::test]
async fn a_refusal_carries_qemus_words_and_the_next_command_works() {
    let (mut qemu, qmp, _events) = connected().await;
    let answer = async {
        let (_, id) = qemu.hear().await;
        qemu.say(&format!("{{\"id\": {id}, \"error\": {{\"class\": \"CommandNotFound\", \"desc\": \"The command nonsense has not been found\"}}}}\r\n")).await;
        let (_, id) = qemu.hear().await;
        qemu.say(&format!(
            "{{\"return\": {{\"status\": \"running\"}}, \"id\": {id}}}\r\n"
        ))
        .await;
    };
    let ask = async {
        let refused = qmp.execute("nonsense", json!({ "x": 1 }), LIMIT).await;
        (
            refused,
            qmp.execute("query-status", Value::Null, LIMIT).await,
        )
    };
    let ((refused, status), ()) = tokio::join!(ask, answer);
    assert_eq!(
        refused,
        Err(QmpError::Refused {
            class: "CommandNotFound".to_owned(),
            description: "The command nonsense has not been found".to_owned(),
        })
    );
    assert_eq!(status.unwrap()["status"], "running");
}

#[tokio::test]
async fn lines_split_at_every_byte_and_noise_between_them_are_understood() {
    let (mut qemu, qmp, mut events) = connected().await;
    let answer = async {
        let (_, id) = qemu.hear().await;
        let text = format!(
            "\r\n{{\"event\": \"STOP\"}}\r\nnot json\r\n[1]\r\n{{\"neither\": 1}}\r\n{{\"return\": 7, \"id\": 4711}}\r\n{{\"return\": {{\"text\": \"a\\nb\"}}, \"id\": {id}}}\r\n"
        );
        for byte in text.chars() {
            qemu.say(&byte.to_string()).await;
            tokio::task::yield_now().await;
        }
    };
    let (reply, ()) = tokio::join!(qmp.execute("query", Value::Null, LIMIT), answer);
    assert_eq!(reply, Ok(json!({ "text": "a\nb" })));
    assert_eq!(events.recv().await.unwrap().name, "STOP");
}

#[tokio::test]
async fn replies_are_told_apart_by_id() {
    let (mut qemu, qmp, _events) = connected().await;
    let answer = async {
        let (first, first_id) = qemu.hear().await;
        let (second, second_id) = qemu.hear().await;
        qemu.say(&format!("{{\"return\": \"{second}\", \"id\": {second_id}}}\n{{\"return\": \"{first}\", \"id\": {first_id}}}\n")).await;
    };
    let (one, two, ()) = tokio::join!(
        qmp.execute("one", Value::Null, LIMIT),
        qmp.execute("two", Value::Null, LIMIT),
        answer
    );
    assert_eq!((one, two), (Ok(json!("one")), Ok(json!("two"))));
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_of_a_command_fails_it_and_all_later_ones() {
    let (mut qemu, qmp, mut events) = connected().await;
    let end = async {
        qemu.hear().await;
        qemu.say("{\"return\": {}, \"i").await;
        drop(qemu);
    };
    let (reply, ()) = tokio::join!(qmp.execute("quit", Value::Null, LIMIT), end);
    assert_eq!(reply, Err(QmpError::Closed));
    assert_eq!(
        qmp.execute("quit", Value::Null, LIMIT).await,
        Err(QmpError::Closed)
    );
    assert_eq!(events.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_command_given_up_or_timed_out_does_not_disturb_the_next() {
    let (mut qemu, qmp, _events) = connected().await;
    assert_eq!(
        qmp.execute("slow", Value::Null, LIMIT).await,
        Err(QmpError::TimedOut(LIMIT))
    );
    let (_, slow_id) = qemu.hear().await;
    {
        let given_up = qmp.execute("forgotten", Value::Null, LIMIT);
        tokio::pin!(given_up);
        let early = tokio::time::timeout(Duration::from_millis(1), &mut given_up).await;
        assert!(early.is_err());
    }
    let (_, forgotten_id) = qemu.hear().await;
    let answer = async {
        let (_, id) = qemu.hear().await;
        qemu.say(&format!("{{\"return\": 1, \"id\": {slow_id}}}\n{{\"return\": 2, \"id\": {forgotten_id}}}\n{{\"return\": 3, \"id\": {id}}}\n")).await;
    };
    let (reply, ()) = tokio::join!(qmp.execute("next", Value::Null, LIMIT), answer);
    assert_eq!(reply, Ok(json!(3)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_greets_is_given_up() {
    let (ours, _theirs) = duplex(64);
    let refused = Qmp::connect(ours, LIMIT).await.map(drop);
    assert_eq!(refused, Err(QmpError::TimedOut(LIMIT)));
    let (ours, theirs) = duplex(64);
    drop(theirs);
    assert_eq!(
        Qmp::connect(ours, LIMIT).await.map(drop),
        Err(QmpError::Closed)
    );
}
