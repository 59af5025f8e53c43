//! Clients of the network door.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::common::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.map(str::trim)
    }
}

/// The connection after the head of its answer.
pub struct Open<S> {
    pub status: u16,
    pub head: String,
    pub rest: BufReader<S>,
}

/// Sends a request and reads the head of the answer. HTTP 1.0, so that the body ends with the connection.
pub async fn begin_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Open<S>> {
    let mut head = format!(
        "{line} HTTP/1.0\r\nhost: door\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(b"\r\n").await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    let mut rest = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        if rest.read_line(&mut head).await? == 0 || head[before..].trim().is_empty() {
            break;
        }
    }
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(Open { status, head, rest })
}

/// The same over a connection of its own.
pub async fn begin(
    to: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Open<TcpStream> {
    let asking = async {
        let stream = TcpStream::connect(to).await?;
        begin_on(stream, line, headers, body).await
    };
    let open = tokio::time::timeout(PATIENCE, asking).await;
    open.expect("an answer in time").expect("an answer")
}

/// Asks, and reads the whole answer.
pub async fn ask(
    to: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> Answer {
    let mut open = begin(to, line, headers, &body.into()).await;
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, open.rest.read_to_string(&mut text)).await;
    read.expect("an end").unwrap();
    Answer {
        status: open.status,
        head: open.head.to_lowercase(),
        text,
    }
}
