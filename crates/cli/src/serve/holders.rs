//! Who holds a port.

use std::fs;
use std::path::Path;

/// Programs that hold the UDP port (TCP where `tcp`), as `NAME (process NUMBER)`. Only those that this user may look
/// at; none where nobody can be named.
pub(crate) fn holders(port: u16, tcp: bool) -> Vec<String> {
    let table = if tcp {
        "/proc/net/tcp"
    } else {
        "/proc/net/udp"
    };
    let Ok(table) = fs::read_to_string(table) else {
        return Vec::new();
    };
    let inodes = inodes(&table, port, tcp);
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if holds(&process.path(), &inodes) {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("`{}` (process {number})", program.trim_end()));
        }
    }
    found
}

/// The sockets bound to the port in the kernel's table: `sl local:port remote:port st ... inode` (proc(5)). Of TCP
/// sockets those that listen (state 0A).
fn inodes(table: &str, port: u16, tcp: bool) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let inode = words.nth(5)?;
        (local.ends_with(&wanted) && (!tcp || state == "0A")).then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let targets = open
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter_map(|target| Some(target.to_str()?.to_owned()))
        .any(|target| sockets.contains(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_this_process_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0");
        let port = socket
            .as_ref()
            .ok()
            .and_then(|socket| socket.local_addr().ok());
        let port = port.map_or(0, |address| address.port());
        let expected = format!("(process {})", std::process::id());
        let found = holders(port, false);
        assert!(
            found.iter().any(|holder| holder.ends_with(&expected)),
            "{found:?}"
        );
        assert!(
            holders(port, true)
                .iter()
                .all(|holder| !holder.ends_with(&expected))
        );
    }

    #[test]
    fn only_the_port_asked_for_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             1: 0100007F:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17 2 0 0\n\
             2: 0100007F:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18 2 0 0\n";
        assert_eq!(inodes(table, 67, false), ["socket:[17]"]);
        assert!(inodes(table, 69, false).is_empty());
    }
}
