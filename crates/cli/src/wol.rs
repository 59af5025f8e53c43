//! Wake-on-LAN.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use bootgate_api::Machine;
use bootgate_api::control::paths;
use bootgate_events::MacAddr;
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::frame::udp4_frame;

use crate::args::WolArgs;
use crate::client::{self, Client, Trouble};
use crate::exit;

/// Ethernet type of a magic packet that is in no IP datagram.
const ETHERTYPE: [u8; 2] = [0x08, 0x42];
/// The port that magic packets are sent to by convention (discard).
const PORT: u16 = 9;
/// How often each form is sent: nobody answers, and a switch that just woke its port up may lose one.
const TIMES: usize = 3;
const EVERYBODY: MacAddr = MacAddr([0xff; 6]);

/// Wakes a machine.
pub(crate) fn wol(args: &WolArgs) -> ExitCode {
    client::run(async {
        let mac = match args.machine.parse::<MacAddr>() {
            Ok(mac) => mac,
            Err(_) => named(args).await?,
        };
        let interface = &args.interface;
        wake(interface, mac).map_err(|error| {
            Trouble::infra(
                format!("wake {mac} on `{interface}`: {error}"),
                "run as root, with the name of an interface that `ip link` shows",
            )
        })?;
        exit::say(&format!(
            "woke {mac} on {interface}: sent {TIMES} magic packets as Ethernet frames and {TIMES} by UDP"
        ));
        Ok(ExitCode::SUCCESS)
    })
}

/// The machine with this name.
async fn named(args: &WolArgs) -> Result<MacAddr, Trouble> {
    let client = Client::reach_here(&args.state).await?;
    let machine: Machine = client.get(&paths::machine(&args.machine)).await?;
    Ok(machine.mac)
}

/// Sends magic packets for `mac` to the interface's whole segment: as bare Ethernet frames of type 0x0842 and as UDP
/// broadcasts to port 9, since adapters and switches differ in which they let through.
///
/// # Errors
/// There is no such interface, it is down, or raw packets may not be sent (`CAP_NET_RAW`).
pub(crate) fn wake(interface: &str, mac: MacAddr) -> io::Result<()> {
    let interface = HostInterface::open(interface)?;
    let socket = interface.packet_socket(0)?;
    let address = interface.addresses.first();
    let source = address.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address);
    let magic = magic(mac);
    let mut bare = Vec::with_capacity(14 + magic.len());
    bare.extend(EVERYBODY.0);
    bare.extend(interface.mac.0);
    bare.extend(ETHERTYPE);
    bare.extend(&magic);
    let udp = udp4_frame(
        interface.mac,
        SocketAddrV4::new(source, PORT),
        EVERYBODY,
        SocketAddrV4::new(Ipv4Addr::BROADCAST, PORT),
        &magic,
    );
    let udp = udp.map_err(io::Error::other)?;
    for frame in std::iter::repeat_n([&bare, &udp], TIMES).flatten() {
        rustix::io::write(&socket.fd, frame)?;
    }
    Ok(())
}

/// Six bytes of ones, then the address sixteen times.
fn magic(mac: MacAddr) -> Vec<u8> {
    let mut magic = vec![0xff; 6];
    magic.extend(mac.0.repeat(16));
    magic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_packet_names_its_machine_sixteen_times() {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let packet = magic(mac);
        assert_eq!(packet.len(), 102);
        assert_eq!(packet[..6], [0xff; 6]);
        assert!(packet[6..].chunks(6).all(|part| part == mac.0));
    }
}
