//! A port that carries one VLAN with its tag.

use std::sync::{Arc, Mutex};

use bootgate_hostnet::UdpOptions;
use bootgate_hostnet::wire::{VlanLoss, VlanPort, WireConfig};

use crate::client::{BROADCAST, Client, parse_udp, udp_frame};
use crate::traffic::{address, patient, receive};
use crate::{enter, lab, run};

/// The frame with a tag between its addresses and its type.
fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    [&frame[..12], &[0x81, 0, high, low][..], &frame[12..]].concat()
}

/// Servers on the segment see untagged frames of the client's VLAN alone, and the client tagged ones alone.
pub fn vlan() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let mut options = UdpOptions::new(address("0.0.0.0:4000"));
        options.broadcast = true;
        let server = patient(sandbox.udp_socket("lab", options).await.unwrap());
        let port = sandbox.create_port("lab", "client").await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        let tell = Box::new(move |loss, count| kept.lock().unwrap().push((loss, count)));
        let config = WireConfig::default().vlan(VlanPort::new(42, tell));
        let (mut client, wire) = Client::connect(&port, 2, config);

        let (from, all) = (address("10.77.0.2:5000"), address("255.255.255.255:4000"));
        let frame = |text: &[u8]| udp_frame(client.mac, BROADCAST, from, all, text);
        let frames = [
            frame(b"untagged"),
            tagged(&frame(b"of another VLAN"), 43),
            tagged(&frame(b"ours"), 42),
        ];
        for frame in frames {
            client.send(&frame);
        }
        assert_eq!(receive(&server).0, b"ours");

        server.send_to(b"hello", "10.77.0.255:4001").unwrap();
        // The kernel's own multicasts may come before it, with the tag too.
        let (seen, text) = client.until(|frame| {
            assert_eq!(frame[12..16], [0x81, 0, 0, 42], "a frame without our tag");
            let inner = [&frame[..12], &frame[16..]].concat();
            parse_udp(&inner).map(|(_, to, text)| (to, text))
        });
        assert_eq!((seen.port(), &text[..]), (4001, &b"hello"[..]));

        let (_, stats) = wire.stop().await;
        assert_eq!(
            (stats.from_client.frames, stats.from_client.vlan_dropped),
            (1, 2)
        );
        assert_eq!(
            told.lock().unwrap()[..],
            [(VlanLoss::Untagged, 1), (VlanLoss::Other(43), 1)]
        );
    });
}
