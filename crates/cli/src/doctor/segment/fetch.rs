//! Whether a boot file is given out, in packets of full size.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use bootgate_hostnet::UdpOptions;

use super::{Findings, Segment};

/// Port of TFTP servers.
const TFTP: u16 = 69;
/// The largest block that fits a packet of 1500 bytes, as EDK2 asks for it.
const FULL: u16 = 1468;
/// The block every network carries (RFC 1350).
const SMALL: u16 = 512;
/// Longest answer that is read.
const ANSWER_MAX: usize = 2048;

/// What became of a TFTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fetched {
    /// The first block came.
    Block,
    /// The server agreed, and the first block did not come.
    NoBlock,
    /// It says no.
    Refused(String),
    /// It says nothing.
    Silence,
}

/// Fetches the first block of the file.
pub(super) fn tftp(
    segment: &Segment<'_>,
    own: Ipv4Addr,
    server: Ipv4Addr,
    file: &str,
    findings: &mut Findings,
) -> io::Result<()> {
    let place = format!("`{file}` from {server} by TFTP");
    match first_block(segment, own, server, file, FULL)? {
        Fetched::Block => findings.good("tftp", format!("{place} comes in packets of full size")),
        Fetched::Refused(reason) => findings.fault(
            "tftp",
            format!("{place}: {reason}"),
            "put the file where the server looks for it, or correct its name in the DHCP server",
        ),
        Fetched::Silence => findings.fault(
            "tftp",
            format!("{place}: no answer"),
            "start the TFTP server, and let UDP port 69 through, and what comes back from other ports",
        ),
        Fetched::NoBlock => match first_block(segment, own, server, file, SMALL)? {
            Fetched::Block => findings.fault(
                "mtu",
                format!("{place}: blocks of {SMALL} bytes come, blocks of {FULL} do not"),
                "packets of 1500 bytes are lost between: set the MTU of every switch, tunnel and VLAN on the way to 1500 or more",
            ),
            _ => findings.fault(
                "tftp",
                format!("{place}: the server agrees, and sends nothing"),
                "let UDP through from its high ports, or set a port range in the TFTP server and in the firewall",
            ),
        },
    }
    Ok(())
}

fn first_block(
    segment: &Segment<'_>,
    own: Ipv4Addr,
    server: Ipv4Addr,
    file: &str,
    block: u16,
) -> io::Result<Fetched> {
    let socket = segment
        .station
        .interface
        .udp_socket(UdpOptions::new(SocketAddrV4::new(own, 0)))?;
    socket.set_nonblocking(false)?;
    let mut request = vec![0, 1];
    for word in [file, "octet", "blksize", &block.to_string(), "tsize", "0"] {
        request.extend(word.as_bytes());
        request.push(0);
    }
    let mut packet = request;
    let mut to = SocketAddrV4::new(server, TFTP);
    let mut agreed = false;
    let end = Instant::now() + segment.wait;
    let every = (segment.wait / 3).max(Duration::from_millis(300));
    while Instant::now() < end {
        socket.send_to(&packet, to)?;
        let Some((from, answer)) = receive(&socket, server, end.min(Instant::now() + every))?
        else {
            continue;
        };
        match answer.get(..2) {
            Some([0, 3]) => {
                // Enough: as EDK2 ends a transfer it only asked the size of.
                socket.send_to(b"\0\x05\0\x08User aborted the transfer\0", from)?;
                return Ok(Fetched::Block);
            }
            Some([0, 5]) => {
                let reason =
                    String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned();
                let reason: String = reason
                    .trim_end_matches('\0')
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                return Ok(Fetched::Refused(format!("refused: {reason}")));
            }
            Some([0, 6]) => {
                agreed = true;
                packet = vec![0, 4, 0, 0];
                to = from;
            }
            _ => {}
        }
    }
    Ok(if agreed {
        Fetched::NoBlock
    } else {
        Fetched::Silence
    })
}

/// A datagram of the server's, from whatever port; `None` where none came in time.
fn receive(
    socket: &UdpSocket,
    server: Ipv4Addr,
    until: Instant,
) -> io::Result<Option<(SocketAddrV4, Vec<u8>)>> {
    let mut buffer = [0; ANSWER_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, SocketAddr::V4(from))) if *from.ip() == server => {
                return Ok(Some((from, buffer[..length].to_vec())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // The server's host has no program on that port.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks for the head of a URL.
pub(super) fn http(url: &str, wait: Duration, findings: &mut Findings) {
    let place = format!("`{url}`");
    let Some(rest) = url.strip_prefix("http://") else {
        return findings.note("http", format!("{place} is not tried: only http:// is"), "");
    };
    match head(rest, wait) {
        Ok(status) if status.contains(" 200") => findings.good("http", format!("{place} is there")),
        Ok(status) => findings.fault(
            "http",
            format!("{place}: the server says `{status}`"),
            "put the file where the server looks for it, or correct the URL in the DHCP server",
        ),
        Err(error) => findings.fault(
            "http",
            format!("{place}: {error}"),
            "start the HTTP server, and let its TCP port through",
        ),
    }
}

/// The first line of what the server says to a HEAD request.
fn head(rest: &str, wait: Duration) -> io::Result<String> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') {
        host.to_socket_addrs()
    } else {
        (host, 80).to_socket_addrs()
    };
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address"));
    let address = address?.next().ok_or_else(unknown)?;
    let mut stream = TcpStream::connect_timeout(&address, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    write!(
        stream,
        "HEAD /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: bootgate-doctor\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX as u64).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let line: String = answer
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect();
    Ok(line)
}
