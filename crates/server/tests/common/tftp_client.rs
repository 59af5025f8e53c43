//! A TFTP client of the tests' own.

use std::net::{SocketAddr, UdpSocket};

use crate::common::PATIENCE;

/// A client that speaks plainly, and may lose or repeat what it should not.
pub struct Client {
    pub socket: UdpSocket,
    /// Where to send, which is where the last packet came from.
    pub server: SocketAddr,
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        let any = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        Self::from(server, any)
    }

    pub fn from(server: SocketAddr, bind: &str) -> Self {
        let socket = UdpSocket::bind(bind).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, server }
    }

    pub fn ask(&self, fields: &[&str]) {
        let mut packet = vec![0, 1];
        for field in fields {
            packet.extend(field.as_bytes());
            packet.push(0);
        }
        self.socket.send_to(&packet, self.server).unwrap();
    }

    /// The next packet: operation, number, rest. Answers go to where it came from.
    pub fn receive(&mut self) -> (u16, u16, Vec<u8>) {
        let mut buffer = [0; 65536];
        let (len, from) = self
            .socket
            .recv_from(&mut buffer)
            .expect("a packet from the server");
        self.server = from;
        let word = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
        (word(0), word(2), buffer[4..len].to_vec())
    }

    pub fn ack(&self, block: u16) {
        let [hi, lo] = block.to_be_bytes();
        self.socket.send_to(&[0, 4, hi, lo], self.server).unwrap();
    }

    pub fn error(&self, code: u8, text: &str) {
        let packet = [&[0, 5, 0, code], text.as_bytes(), &[0]].concat();
        self.socket.send_to(&packet, self.server).unwrap();
    }

    /// Fetches with a window; drops each packet for which `lose` says so.
    pub fn fetch(
        &mut self,
        name: &str,
        block: usize,
        window: u16,
        lose: &mut dyn FnMut() -> bool,
    ) -> Vec<u8> {
        let (blksize, windowsize) = (block.to_string(), window.to_string());
        self.ask(&[
            name,
            "octet",
            "blksize",
            &blksize,
            "windowsize",
            &windowsize,
        ]);
        let (operation, _, _) = self.receive();
        assert_eq!(operation, 6, "options are acknowledged");
        self.ack(0);
        let (mut content, mut last, mut unacked) = (Vec::new(), 0u16, 0);
        loop {
            let (operation, number, data) = self.receive();
            assert_eq!(operation, 3, "{}", String::from_utf8_lossy(&data));
            if lose() {
                continue;
            }
            if number != last.wrapping_add(1) {
                self.ack(last);
                unacked = 0;
                continue;
            }
            last = number;
            unacked += 1;
            content.extend(&data);
            if data.len() < block || unacked == window {
                self.ack(last);
                unacked = 0;
            }
            if data.len() < block {
                return content;
            }
        }
    }
}

/// Runs `client` where it may block.
pub async fn blocking<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(client)
        .await
        .expect("the client ends well")
}
