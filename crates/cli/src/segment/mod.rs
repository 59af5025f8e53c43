//! A made-up station on a network segment: asks DHCP servers, and takes nothing.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use bootgate_events::MacAddr;
use bootgate_hostnet::PacketSocket;
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::dhcp::{CLIENT_PORT, SERVER_PORT, ServerFacts, probe};
use bootgate_netboot::frame::{Udp4, udp4_frame, udp4_in};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// Longest frame that is read: an Ethernet frame without jumbo.
const FRAME_MAX: usize = 2048;
/// Everybody's hardware address.
pub(crate) const EVERYBODY: MacAddr = MacAddr([0xff; 6]);

/// A station that sends and hears whole frames.
pub(crate) struct Station {
    /// The interface it is on.
    pub(crate) interface: HostInterface,
    socket: PacketSocket,
}

/// A DHCP server's answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Hardware address it came from: the server's, or a relay's.
    pub(crate) mac: MacAddr,
    /// Address and port it came from.
    pub(crate) from: SocketAddrV4,
    /// What it says.
    pub(crate) facts: ServerFacts,
    /// The DHCP message as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The server: its identifier, else where the answer came from.
    pub(crate) fn server(&self) -> Ipv4Addr {
        self.facts.server_id.unwrap_or(*self.from.ip())
    }
}

impl Station {
    /// Takes a place on the interface's segment.
    ///
    /// # Errors
    /// There is no such interface, or raw packets may not be sent (`CAP_NET_RAW`).
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let interface = HostInterface::open(interface)?;
        let socket = interface.packet_socket(IPV4)?;
        Ok(Self { interface, socket })
    }

    /// A made-up hardware address, which this project's server knows for one.
    pub(crate) fn made_up(&self, number: u8) -> MacAddr {
        probe::station(self.interface.mac, number)
    }

    /// Sends a datagram in a frame of its own.
    pub(crate) fn send(
        &self,
        station: MacAddr,
        from: SocketAddrV4,
        to_station: MacAddr,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> io::Result<()> {
        let frame = udp4_frame(station, from, to_station, to, payload).map_err(io::Error::other)?;
        rustix::io::write(&self.socket.fd, &frame)?;
        Ok(())
    }

    /// Sends a client's message to every DHCP server.
    pub(crate) fn ask(&self, station: MacAddr, message: &[u8]) -> io::Result<()> {
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        self.send(station, from, EVERYBODY, to, message)
    }

    /// Hears datagrams until then, or until `hear` has enough.
    pub(crate) fn listen(
        &self,
        until: Instant,
        mut hear: impl FnMut(&Udp4<'_>) -> bool,
    ) -> io::Result<()> {
        let mut frame = [0; FRAME_MAX];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.socket.fd, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match rustix::io::read(&self.socket.fd, &mut frame) {
                Ok(length) => {
                    if let Some(datagram) = udp4_in(&frame[..length.min(FRAME_MAX)])
                        && hear(&datagram)
                    {
                        return Ok(());
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks each question twice, in case one is lost, and hears the servers' answers for `wait`. Each comes with the
    /// place of its question in `questions`: `(station, message)`, told apart by their transactions.
    pub(crate) fn answers(
        &self,
        questions: &[Question],
        wait: Duration,
    ) -> io::Result<Vec<(usize, Answer)>> {
        let mut answers: Vec<(usize, Answer)> = Vec::new();
        let start = Instant::now();
        for round in 1..=2 {
            for question in questions {
                self.ask(question.station, &question.message)?;
            }
            self.listen(start + wait * round / 2, |datagram| {
                let Some(answer) = answer(datagram) else {
                    return false;
                };
                let asked = questions
                    .iter()
                    .position(|question| question.xid == answer.facts.xid);
                let Some(asked) = asked else {
                    return false;
                };
                let known = answers.iter().any(|(other, have)| {
                    *other == asked && have.server() == answer.server() && have.mac == answer.mac
                });
                if !known {
                    answers.push((asked, answer));
                }
                false
            })?;
        }
        Ok(answers)
    }

    /// The DHCP servers that give out addresses here, each once.
    pub(crate) fn dhcp_servers(&self, wait: Duration) -> io::Result<Vec<Answer>> {
        let question = Question::new(self.made_up(0), None, None);
        let answers = self.answers(&[question], wait)?;
        let full = |(_, answer): (usize, Answer)| (!answer.facts.is_proxy()).then_some(answer);
        Ok(answers.into_iter().filter_map(full).collect())
    }
}

/// A client's DISCOVER.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Who asks.
    pub(crate) station: MacAddr,
    /// Number of the transaction.
    pub(crate) xid: u32,
    /// The message.
    pub(crate) message: Vec<u8>,
}

impl Question {
    /// A DISCOVER of a client with this architecture and vendor class; of an operating system's without both.
    pub(crate) fn new(station: MacAddr, arch: Option<u16>, class: Option<&str>) -> Self {
        let xid = random();
        Self {
            station,
            xid,
            message: probe::discover(xid, station, arch, class),
        }
    }
}

/// A number that no other client uses at the moment.
pub(crate) fn random() -> u32 {
    // Each state is seeded by the system's randomness; nothing secret depends on it.
    let [a, b, c, d, ..] = RandomState::new().hash_one(Instant::now()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A DHCP server's answer in a datagram.
pub(crate) fn answer(datagram: &Udp4<'_>) -> Option<Answer> {
    let facts = ServerFacts::parse(datagram.payload).ok()?;
    Some(Answer {
        mac: datagram.source_mac,
        from: datagram.source,
        facts,
        bytes: datagram.payload.to_vec(),
    })
}
