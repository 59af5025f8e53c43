//! A lab's server on loopback, with a store on disk.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootgate_api::{
    AfterFlash, AgentHello, Attempt, Completion, DiskSelector, FlashOrder, Machine, Progress,
    Sha256Hex, paths,
};
use bootgate_events::{AttemptId, Event, EventKind, FlashPhase, MacAddr, Verdict};
use bootgate_netboot::dhcp::{DhcpMode, InterfaceId, SubnetConfig};
use bootgate_server::lab::{InstallerConfig, Lab, LabConfig, LabInterface, LabServer, LiveConfig};
use bootgate_server::{ServerConfig, Services};
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{AttemptFilter, MachineChange, Store, StoreError};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::common::{Loopback, PATIENCE, curl_text};

pub const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 7]);
pub const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 8]);
/// Digest over the chunks of the image `debian`.
pub const CHUNKS: Sha256Hex = Sha256Hex([7; 32]);
pub const IMAGE: Sha256Hex = Sha256Hex([8; 32]);
pub const SIZE: u64 = 1 << 20;

/// A server, its store, and everything it tells.
pub struct Laboratory<S = Sqlite> {
    pub server: LabServer,
    pub lab: Arc<Lab>,
    pub store: Arc<S>,
    pub folder: Arc<tempfile::TempDir>,
    pub config: LabConfig,
    live: broadcast::Receiver<(AttemptId, Event)>,
    seen: Vec<(AttemptId, Event)>,
    xid: u32,
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

pub fn config(folder: &Path) -> LabConfig {
    let pool = Ipv4Addr::new(127, 0, 0, 50)..=Ipv4Addr::new(127, 0, 0, 60);
    let server = ServerConfig {
        http_port: 0,
        tftp_port: 0,
        dhcp_port: 0,
        pxe: false,
        services: Services {
            ra: false,
            ..Services::default()
        },
        ..ServerConfig::new(Ipv4Addr::LOCALHOST, 8, pool.clone())
    };
    let interface = LabInterface {
        name: "lo".to_owned(),
        dhcp: DhcpMode::Full,
        server,
    };
    let mut config = LabConfig::new(vec![interface]);
    let mut subnet = SubnetConfig::new(Ipv4Addr::new(127, 0, 0, 0), 8, pool);
    subnet.interfaces.push(InterfaceId(0));
    config.subnets.push(subnet);
    let index = format!(
        r#"{{"schema":1,"size":{SIZE},"sector_size":512,"chunk_size":1048576,
        "image_sha256":"{IMAGE}","chunks_sha256":"{CHUNKS}","chunks":["zero"]}}"#
    );
    let image = folder.join("image");
    write(&image, "index.json", &index);
    write(&image, "image.zst", "zstd");
    config.images.insert("debian".to_owned(), image);
    config.live = Some(LiveConfig {
        kernel: write(folder, "vmlinuz", "kernel"),
        initrds: vec![write(folder, "initrd.img", "initrd")],
        cmdline: "console=ttyS0".to_owned(),
    });
    let installer = InstallerConfig {
        kernel: write(folder, "linux", "kernel"),
        initrds: vec![write(folder, "initrd.gz", "initrd")],
        cmdline: "auto=true hostname={{ name }} url={{ answer_url }}".to_owned(),
        answer: Some(write(
            folder,
            "preseed.cfg",
            "host {{ name }} {{ mac }} {{ ip }} {{ labels.rack }}\ndone {{ installed_url }}\n",
        )),
    };
    config.installers.insert("trixie".to_owned(), installer);
    let menu = "#!ipxe\necho {{name}} in {{label.rack}}\nchain {{server_url}}/x?n={{nonce}}\n";
    let script = write(folder, "menu.ipxe", menu);
    config.scripts.insert("menu".to_owned(), script);
    config
}

impl Laboratory {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut LabConfig)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(folder.path());
        change(&mut config);
        Self::start(folder, config, open).await
    }

    /// Stops the server and starts it again.
    pub async fn restart(self) -> Self {
        self.restart_on(open).await
    }
}

/// Opens the store. A program that another test of this process just starts has the lock for as long as it takes to
/// start, as it has every open file of its parent.
pub fn open(folder: &Path) -> Arc<Sqlite> {
    let began = std::time::Instant::now();
    loop {
        match Sqlite::open(folder) {
            Ok(store) => return Arc::new(store),
            Err(StoreError::InUse { .. }) if began.elapsed() < PATIENCE => {
                std::thread::yield_now();
            }
            Err(error) => panic!("open the store: {error}"),
        }
    }
}

impl<S: Store> Laboratory<S> {
    /// A lab with another store, which is to lie in the folder.
    pub async fn on(store: impl FnOnce(&Path) -> Arc<S>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config(folder.path());
        Self::start(folder, config, store).await
    }

    /// Stops the server and starts it again with another store in the same folder.
    pub async fn restart_on<T: Store>(
        self,
        another: impl FnOnce(&Path) -> Arc<T>,
    ) -> Laboratory<T> {
        let Self {
            server,
            lab,
            store,
            folder,
            config,
            ..
        } = self;
        server.stop().await;
        drop((lab, store));
        Laboratory::start(folder, config, another).await
    }

    async fn start(
        folder: Arc<tempfile::TempDir>,
        config: LabConfig,
        store: impl FnOnce(&Path) -> Arc<S>,
    ) -> Self {
        let store = store(&folder.path().join("state"));
        let sockets = vec![Arc::new(Loopback) as _];
        let server = LabServer::start(config.clone(), Arc::clone(&store) as _, sockets).await;
        let server = server.expect("the lab starts on loopback");
        let lab = server.control();
        Self {
            live: lab.subscribe(),
            lab,
            server,
            store,
            folder,
            config,
            seen: Vec::new(),
            xid: 0,
        }
    }

    pub fn http(&self) -> SocketAddrV4 {
        self.server.addresses()[0].http.unwrap()
    }

    pub fn tftp(&self) -> SocketAddrV4 {
        self.server.addresses()[0].tftp.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// Sends a DHCP message of this kind (1 is DISCOVER) with options, and the next transaction id.
    pub fn dhcp(&mut self, mac: MacAddr, kind: u8, options: &[u8]) {
        self.xid += 1;
        self.dhcp_again(mac, kind, options);
    }

    pub fn dhcp_again(&self, mac: MacAddr, kind: u8, options: &[u8]) {
        let mut message = vec![0; 236];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[4..8].copy_from_slice(&self.xid.to_be_bytes());
        message[28..34].copy_from_slice(&mac.0);
        message.extend([99, 130, 83, 99, 53, 1, kind]);
        message.extend(options);
        message.push(255);
        message.resize(300, 0);
        let port = self.server.addresses()[0].dhcp.unwrap().port();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .send_to(&message, (Ipv4Addr::LOCALHOST, port))
            .unwrap();
    }

    /// The machine is switched on: its firmware (x64 UEFI) asks.
    pub fn power_on(&mut self, mac: MacAddr) {
        self.dhcp(mac, 1, &firmware_options());
    }

    /// A status and a body.
    pub async fn call(&self, path: &str, more: &[&str]) -> (String, String) {
        let url = self.url(path);
        let arguments = [more, &["-w", "\n%{http_code}", &url]].concat();
        let text = curl_text(&arguments).await;
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> (String, String) {
        let body = serde_json::to_string(body).unwrap();
        self.call(path, &["--json", &body]).await
    }

    /// The machine's iPXE fetches its script.
    pub async fn script(&self, mac: MacAddr) -> String {
        let (status, text) = self.call(&paths::script(&mac), &[]).await;
        assert_eq!(status, "200", "{text}");
        text
    }

    /// The script and the nonce in it.
    pub async fn nonce(&self, mac: MacAddr) -> AttemptId {
        nonce_in(&self.script(mac).await)
    }

    pub fn set(&self, mac: MacAddr, change: MachineChange) -> Machine {
        self.lab.set_machine(&mac, &change).unwrap()
    }

    pub fn machine(&self, mac: MacAddr) -> Machine {
        self.store
            .machine(&mac)
            .unwrap()
            .expect("the machine is known")
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.store.attempts(&AttemptFilter::default()).unwrap()
    }

    /// Waits for the next event that `wanted` likes, from where the last wait ended.
    pub async fn wait<T>(&mut self, what: &str, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let (attempt, event) = self.live.recv().await.expect("the server runs");
                let found = event.kind().and_then(&wanted);
                self.seen.push((attempt, event));
                if let Some(found) = found {
                    return found;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} among {:#?}", self.seen),
        }
    }

    pub async fn wait_for(&mut self, name: &str) {
        let found = |kind: &EventKind| (kind.name() == name).then_some(());
        self.wait(name, found).await;
    }

    /// The verdict of the next attempt that ends.
    pub async fn verdict(&mut self) -> Verdict {
        self.wait("verdict", |kind| match kind {
            EventKind::RunFinished { verdict } => Some(verdict.clone()),
            _ => None,
        })
        .await
    }

    /// The agent says hello and that it writes.
    pub async fn begin_flash(&self, nonce: &AttemptId) {
        let hello = AgentHello {
            version: "0.1.0".to_owned(),
            since_pid1_ms: 100,
        };
        let (status, body) = self.post(&paths::hello(nonce), &hello).await;
        assert_eq!(status, "200", "{body}");
        assert!(body.contains("\"do\":\"flash\""), "{body}");
        let progress = Progress {
            phase: FlashPhase::Write,
            done: SIZE,
            total: SIZE,
        };
        let (status, _) = self.post(&paths::progress(nonce), &progress).await;
        assert_eq!(status, "200");
    }
}

pub fn firmware_options() -> Vec<u8> {
    let mut options = vec![60, 32];
    options.extend(b"PXEClient:Arch:00007:UNDI:003001");
    options.extend([93, 2, 0, 7]);
    options
}

pub fn ipxe_options() -> Vec<u8> {
    let mut options = firmware_options();
    options.extend([77, 4]);
    options.extend(b"iPXE");
    options
}

pub fn nonce_in(text: &str) -> AttemptId {
    let (_, rest) = text.split_once("nonce=").expect("a nonce");
    let nonce: String = rest.chars().take(32).collect();
    assert!(nonce.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    AttemptId::new(nonce)
}

pub fn completion() -> Completion {
    Completion {
        chunks_sha256: CHUNKS,
        size: SIZE,
        bytes_fetched: 1000,
        bytes_written: SIZE,
        first_fetch_ms: 300,
    }
}

pub fn order() -> FlashOrder {
    FlashOrder {
        image: "debian".to_owned(),
        disk: DiskSelector {
            serial: Some("S1".to_owned()),
            ..DiskSelector::default()
        },
        after: AfterFlash::Reboot,
    }
}
