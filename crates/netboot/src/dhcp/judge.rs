//! What is to be done about a message: decided without changing anything, so that it can be explained as well.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::explain::Trace;
use super::lease::State;
use super::pool::{Asker, Choice};
use super::responder::{Net, Responder};
use super::scene::Scene;
use super::{DhcpMode, DropReason, Dropped, MessageKind, Port, SubnetId};
use crate::Time;
use crate::policy::Loader;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Plan {
    /// Offer the address; `hold` where it is to be kept for the client until its REQUEST.
    Offer {
        subnet: SubnetId,
        choice: Choice,
        hold: bool,
    },
    /// Grant or extend the lease.
    Grant { subnet: SubnetId, ip: Ipv4Addr },
    /// Refuse the address.
    Refuse { ip: Ipv4Addr, why: String },
    /// Tell what goes with an address from elsewhere.
    Inform { subnet: SubnetId },
    /// Offer something to boot, without an address.
    ProxyOffer,
    /// Tell what to boot.
    BootAck,
    /// End the lease.
    Release { subnet: SubnetId, ip: Ipv4Addr },
    /// Keep the address from everybody for a while.
    Quarantine { subnet: SubnetId, ip: Ipv4Addr },
    /// The client took another server's offer: ours is free again.
    Lost {
        server: Ipv4Addr,
        offer: Option<(SubnetId, Ipv4Addr)>,
    },
}

type Judged = Result<Plan, Dropped>;

fn silence(reason: DropReason, detail: impl Into<std::borrow::Cow<'static, str>>) -> Judged {
    Err(Dropped::new(reason, detail))
}

impl Responder {
    pub(super) fn judge(&self, now: Time, scene: &Scene<'_>, trace: &mut Trace) -> Judged {
        match (scene.port, scene.interface.mode) {
            (_, DhcpMode::Off) => silence(DropReason::Off, "DHCP is off on this interface"),
            (Port::Pxe, _) => boot_server(scene),
            (Port::Dhcp, DhcpMode::Proxy) => proxy(scene),
            (Port::Dhcp, DhcpMode::Full) => self.server(now, scene, trace),
        }
    }

    fn server(&self, now: Time, scene: &Scene<'_>, trace: &mut Trace) -> Judged {
        let client = scene.client;
        // DISCOVER and INFORM name no server; where one does, it means nothing.
        let names_one = !matches!(client.message, MessageKind::Discover | MessageKind::Inform);
        if let Some(server) = scene.other_server().filter(|_| names_one) {
            return Ok(Plan::Lost {
                server,
                offer: self.offer_to(&client.mac, now),
            });
        }
        match client.message {
            MessageKind::Decline => return self.decline(now, scene),
            MessageKind::Release => return self.release(now, scene),
            MessageKind::Inform => return inform(scene),
            _ => {}
        }
        let knows = |id: SubnetId| {
            self.nets.get(id.0).is_some_and(|net| {
                net.pool.has_reservation(&client.mac) || net.leases.of(&client.mac, now).is_some()
            })
        };
        let subnet = scene.choose_subnet(knows, trace)?;
        let Some(net) = self.nets.get(subnet.0) else {
            return silence(DropReason::NoSubnet, "no such subnet");
        };
        let asker = Asker {
            mac: client.mac,
            found: scene.found,
            machines: scene.machines,
        };
        match client.message {
            MessageKind::Discover => discover(now, scene, subnet, net, &asker, trace),
            _ => self.request(now, scene, subnet, net, &asker, trace),
        }
    }

    /// The address that is offered to `mac` and waits for its REQUEST.
    fn offer_to(&self, mac: &MacAddr, now: Time) -> Option<(SubnetId, Ipv4Addr)> {
        let nets = self.nets.iter().enumerate();
        nets.filter_map(|(id, net)| Some((SubnetId(id), net.leases.of(mac, now)?)))
            .find(|(_, (_, binding))| binding.state == State::Offered)
            .map(|(id, (ip, _))| (id, ip))
    }

    /// The four states of RFC 2131 section 4.3.2, told apart by table 4: a client in SELECTING names the server, one in
    /// INIT-REBOOT only the address it had, one in RENEWING or REBINDING has its address in `ciaddr`. The last two
    /// differ in how they came (unicast or broadcast) and get the same answer.
    fn request(
        &self,
        now: Time,
        scene: &Scene<'_>,
        subnet: SubnetId,
        net: &Net,
        asker: &Asker<'_>,
        trace: &mut Trace,
    ) -> Judged {
        let client = scene.client;
        let renewing = !client.ciaddr.is_unspecified();
        let ip = match client.requested {
            _ if renewing => client.ciaddr,
            Some(ip) => ip,
            None => return silence(DropReason::Malformed, "REQUEST names no address"),
        };
        let selecting = !renewing && client.server_id.is_some();
        let known = net.leases.of(&client.mac, now).map(|(own, _)| own);
        if !selecting && known.is_none() && !self.config().authoritative {
            let why = format!("`{ip}` was not leased by this server, and it is not the only one");
            return silence(DropReason::NotOurs, why);
        }
        // What is known of the machine stands against a claim of a different address, but for SELECTING, where an
        // offer may have gone since.
        let agreed = selecting || known.is_none_or(|own| own == ip);
        if agreed && net.pool.can_take(&net.leases, asker, ip, now) {
            trace.step("lease", || format!("`{ip}` is granted"));
            return Ok(Plan::Grant { subnet, ip });
        }
        let why = why_not(net, scene, subnet, ip, now);
        trace.step("lease", || why.clone());
        Ok(Plan::Refuse { ip, why })
    }

    /// DECLINE is believed only from the machine that was given the address: anybody else could empty the pool.
    fn decline(&self, now: Time, scene: &Scene<'_>) -> Judged {
        let Some(ip) = scene.client.requested else {
            return silence(DropReason::Malformed, "DECLINE names no address");
        };
        match self.held_by(now, scene, ip) {
            Some((subnet, State::Leased | State::Offered)) => Ok(Plan::Quarantine { subnet, ip }),
            _ => silence(
                DropReason::NotOurs,
                format!("DECLINE of `{ip}`, which this client does not hold: ignored"),
            ),
        }
    }

    fn release(&self, now: Time, scene: &Scene<'_>) -> Judged {
        let ip = scene.client.ciaddr;
        match self.held_by(now, scene, ip) {
            Some((subnet, State::Leased)) => Ok(Plan::Release { subnet, ip }),
            _ => silence(
                DropReason::NotOurs,
                format!("RELEASE of `{ip}`, which this client does not hold: ignored"),
            ),
        }
    }

    /// What `ip` is to the client, where the client has it.
    fn held_by(&self, now: Time, scene: &Scene<'_>, ip: Ipv4Addr) -> Option<(SubnetId, State)> {
        let subnet = scene.subnet_of(ip)?;
        let binding = self.nets.get(subnet.0)?.leases.holder(ip, now)?;
        (binding.mac == scene.client.mac).then_some((subnet, binding.state))
    }
}

fn discover(
    now: Time,
    scene: &Scene<'_>,
    subnet: SubnetId,
    net: &Net,
    asker: &Asker<'_>,
    trace: &mut Trace,
) -> Judged {
    let client = scene.client;
    let Some(choice) = net.pool.choose(&net.leases, asker, client.requested, now) else {
        return silence(DropReason::PoolEmpty, "no free address in the pool");
    };
    trace.step("lease", || format!("`{}`, {}", choice.ip, choice.how));
    // A lease stays one while the next loader of the same boot asks again.
    let own = net.leases.of(&client.mac, now);
    let leased = own.is_some_and(|(ip, b)| ip == choice.ip && b.state == State::Leased);
    Ok(Plan::Offer {
        subnet,
        choice,
        hold: !leased,
    })
}

/// INFORM: the client has an address from elsewhere and wants the rest. It gets no lease (RFC 2131 section 4.3.5).
fn inform(scene: &Scene<'_>) -> Judged {
    let ciaddr = scene.client.ciaddr;
    match scene.subnet_of(ciaddr).filter(|_| !ciaddr.is_unspecified()) {
        Some(subnet) => Ok(Plan::Inform { subnet }),
        None => silence(
            DropReason::NoSubnet,
            format!("INFORM from `{ciaddr}`, not of this network"),
        ),
    }
}

/// A proxy answers who asks for a boot, and nobody else: another server has the addresses.
fn proxy(scene: &Scene<'_>) -> Judged {
    let client = scene.client;
    let wants = client.vendor_class_is("PXEClient") || client.vendor_class_is("HTTPClient");
    if scene.decision.loader == Loader::Os || !wants {
        let why = "not for a proxy: no network boot asked for";
        return silence(DropReason::NotForUs, why);
    }
    if !matches!(client.message, MessageKind::Discover | MessageKind::Inform) {
        let why = "not for a proxy: about an address";
        return silence(DropReason::NotForUs, why);
    }
    if !scene.decision.boot.is_some() {
        return silence(DropReason::NotForUs, scene.decision.reason.clone());
    }
    match client.message {
        MessageKind::Discover => Ok(Plan::ProxyOffer),
        _ => Ok(Plan::BootAck),
    }
}

/// Port 4011: a client that has its address asks what to boot (PXE 2.1 section 2.2.5). In mode `full` as well: EDK2
/// asks here where it took a server's option 60 for the word of a boot server.
fn boot_server(scene: &Scene<'_>) -> Judged {
    let client = scene.client;
    if let Some(server) = scene.other_server() {
        let why = format!("client asks boot server `{server}`");
        return silence(DropReason::ForeignServer, why);
    }
    let asks = matches!(client.message, MessageKind::Request | MessageKind::Inform);
    if !asks || scene.decision.loader == Loader::Os {
        let why = "no boot client's question on port 4011";
        return silence(DropReason::NotForUs, why);
    }
    if !scene.decision.boot.is_some() {
        return silence(DropReason::NotForUs, scene.decision.reason.clone());
    }
    Ok(Plan::BootAck)
}

/// Why the client cannot have `ip`, in words.
fn why_not(net: &Net, scene: &Scene<'_>, subnet: SubnetId, ip: Ipv4Addr, now: Time) -> String {
    let mac = &scene.client.mac;
    if scene.subnet(subnet).is_none_or(|s| !s.contains(ip)) {
        return format!("address {ip} is not on this network");
    }
    match (net.leases.holder(ip, now), net.leases.of(mac, now)) {
        (Some(held), _) if held.state == State::Quarantined => {
            format!("address {ip} is in quarantine")
        }
        (Some(held), _) if held.state != State::Ended && held.mac != *mac => {
            format!("address {ip} belongs to another machine")
        }
        (_, Some((own, _))) if own != ip => {
            format!("address {ip} is not this machine's, {own} is")
        }
        _ => format!("address {ip} is not available to this machine"),
    }
}
