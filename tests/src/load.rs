//! Adapters that carry traffic, for tests that do something to them meanwhile.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ndis_sim::ndis::{AdapterConfig, OidRequest, SendNbl, SendOptions};
use ndis_sys::*;
use tcpip::{
    algorithm::Encryption,
    lab::{HARDWARE_ID, Lab, NdisVersion, Port},
    offload::{Handle, Way},
    split::Split,
};

use crate::{
    flow::{Came, Flow, Flows},
    kinds::Kind,
    lab_options,
    ledger::{Ledger, cookie},
    listener::Listener,
    switch::PATIENCE,
};

/// Flows from one peer to another: one without an SA, and others with every kind in turn.
pub const FLOWS: usize = 5;
/// The first flow of a pair with an SA.
pub const SEALED: usize = 1;
/// Packets per call.
const CHAIN: usize = 12;
/// Packets that may be out at a time, so that receive buffers suffice.
const OUT: u64 = 100;

/// Adapters on one wire, and what flows between them.
pub struct Wire {
    /// Machine and driver.
    pub lab: Lab,
    /// The flows, of each of which `routes` says where it goes.
    pub flows: Arc<Flows>,
    routes: Vec<(usize, usize)>,
    next: Arc<Vec<AtomicU64>>,
    ledger: Arc<Ledger>,
}

/// An adapter with a transport on top.
pub struct Peer {
    /// The adapter and the binding.
    pub port: Port,
    /// The transport.
    pub listener: Arc<Listener>,
    /// Its number on the wire.
    pub index: usize,
    /// Of each flow, the handles of its SAs.
    handles: Vec<Vec<Handle>>,
}

/// Traffic from one peer.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// How the packets of a peer's flows came up.
pub type Arrivals = BTreeMap<&'static str, u64>;

/// The name of a kind of arrival.
fn kind(came: Came) -> &'static str {
    match came {
        Came::Clear => "clear",
        Came::Verified => "verified",
        Came::HalfOpened => "half opened",
        Came::Untouched => "untouched",
        Came::Unauthentic => "unauthentic",
        Came::Unsealed => "unsealed",
    }
}

/// The address of a peer.
#[must_use]
pub fn mac(index: usize) -> [u8; 6] {
    [2, 0, 0, 0, 2, index as u8]
}

/// An adapter for that place.
#[must_use]
pub fn config(index: usize) -> AdapterConfig {
    AdapterConfig::new(HARDWARE_ID).mac(mac(index))
}

impl Wire {
    /// Loads the driver. Between each pair of peers, from the first to the second, go [`FLOWS`].
    ///
    /// # Panics
    /// If it does not load.
    #[must_use]
    pub fn new(version: NdisVersion, processors: usize, pairs: &[(usize, usize)]) -> Self {
        let mut options = lab_options(version);
        options.processors = processors;
        let lab = Lab::start(&options).unwrap_or_else(|error| panic!("{error:#}"));
        let mut kinds = Kind::usual();
        kinds.retain(|kind| matches!(kind, Kind::Sealed(..)));
        // Not in the order of the list: neighbours are alike.
        let mut kinds = kinds.iter().cycle().step_by(7);
        let mut flows = Vec::new();
        let mut routes = Vec::new();
        for &(from, to) in pairs {
            for number in 0..FLOWS {
                let id = flows.len() as u32 + 1;
                let (from_mac, to_mac) = (mac(from), mac(to));
                let flow = Flow::clear(id, from_mac, to_mac, id.is_multiple_of(2), 1200);
                flows.push(match number {
                    0 => flow,
                    1 => flow.protected(Encryption::AesGcm256, 16),
                    2 => flow.protected(Encryption::AesGcm128, 16).extended(1 << 33),
                    _ => {
                        let kind = kinds.next().expect("they go round");
                        kind.flow(id, from_mac, to_mac, id.is_multiple_of(2), 1200)
                    }
                });
                routes.push((from, to));
            }
        }
        let next = flows.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            lab,
            flows: Arc::new(Flows(flows)),
            routes,
            next: Arc::new(next),
            ledger: Arc::default(),
        }
    }

    /// Starts an adapter with the SAs of its flows.
    ///
    /// # Panics
    /// If it does not start, or does not take the SAs.
    #[must_use]
    pub fn peer(&self, index: usize) -> Peer {
        let mut peer = self.bare_peer(index, config(index));
        peer.port
            .activate_offload()
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.offload(&mut peer);
        peer
    }

    /// Starts an adapter without SAs and offload.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn bare_peer(&self, index: usize, config: AdapterConfig) -> Peer {
        let random = fastrand::Rng::with_seed(index as u64);
        let listener = Listener::new(self.ledger.clone(), self.flows.clone(), false, random);
        let port = self
            .lab
            .port_with(config, listener.clone())
            .unwrap_or_else(|error| panic!("{error:#}"));
        port.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)
            .unwrap_or_else(|error| panic!("{error:#}"));
        Peer {
            port,
            listener,
            index,
            handles: vec![Vec::new(); self.flows.0.len()],
        }
    }

    /// Adds the SAs of the flows from and to a peer.
    ///
    /// # Panics
    /// If the driver does not take them.
    pub fn offload(&self, peer: &mut Peer) {
        for (index, flow) in self.flows.0.iter().enumerate() {
            let way = match self.routes[index] {
                (from, _) if from == peer.index => Way::Outbound,
                (_, to) if to == peer.index => Way::Inbound,
                _ => continue,
            };
            let sas: Vec<_> = flow.sas().iter().collect();
            let added = peer.port.add_sas(&sas, way);
            let added = added.unwrap_or_else(|error| panic!("{error:#}"));
            peer.handles[index] = added
                .into_iter()
                .map(|handle| handle.unwrap_or_else(|refused| panic!("{refused}")))
                .collect();
        }
    }

    /// Sends packets of all flows from a peer, in turn, until it is told to stop. Those whose SA the peer
    /// does not have are left out.
    #[must_use]
    pub fn load(&self, peer: &Peer) -> Load {
        let mine: Vec<_> = (0..self.flows.0.len())
            .filter(|&flow| self.routes[flow].0 == peer.index)
            .filter(|&flow| self.flows.0[flow].sas().len() == peer.handles[flow].len())
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (flows, next, ledger) = (self.flows.clone(), self.next.clone(), self.ledger.clone());
        let (open, handles) = (peer.port.open.clone(), peer.handles.clone());
        let (listener, machine) = (peer.listener.clone(), self.lab.machine().clone());
        let (told, total) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let mut turn = 0;
            let done = || listener.succeeded.load(Ordering::Acquire) + listener.unsent();
            let before = done();
            while !told.load(Ordering::Acquire) {
                if total.load(Ordering::Acquire) > done() - before + OUT {
                    thread::yield_now();
                    continue;
                }
                let lists = (0..CHAIN).map(|_| {
                    turn += 1;
                    let flow = mine[turn % mine.len()];
                    let step = flows.0[flow].per_list();
                    let number = next[flow].fetch_add(step, Ordering::Relaxed);
                    flows.0[flow]
                        .nbl(
                            number,
                            &handles[flow],
                            Split::Headers,
                            true,
                            cookie(flow, number),
                        )
                        .prepare(&machine)
                });
                let lists: Vec<_> = lists.collect();
                ledger.sent(lists.len());
                total.fetch_add(lists.len() as u64, Ordering::Release);
                if open.send_with(lists, SendOptions::default()).is_err() {
                    return; // The machine has stopped; whoever waits for it says so.
                }
            }
        });
        Load { stop, sent, thread }
    }

    /// The next list of a flow from a peer, for the test to send itself.
    pub fn list(&self, peer: &Peer, flow: usize) -> SendNbl {
        let step = self.flows.0[flow].per_list();
        let number = self.next[flow].fetch_add(step, Ordering::Relaxed);
        let (handles, cookie) = (&peer.handles[flow], cookie(flow, number));
        self.ledger.sent(1);
        self.flows.0[flow].nbl(number, handles, Split::Headers, true, cookie)
    }

    /// From which peer to which a flow goes.
    #[must_use]
    pub fn route(&self, flow: usize) -> (usize, usize) {
        self.routes[flow]
    }

    /// Notes a packet that the test sends itself, under [`cookie`].
    pub fn note_sent(&self) {
        self.ledger.sent(1);
    }

    /// The statuses with which the sends so far were completed, which is each of them.
    ///
    /// # Panics
    /// If one was not.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<i32, u64> {
        let (sent, completed) = self.ledger.close();
        assert_eq!(completed.len() as u64, sent, "not every send is completed");
        let mut statuses = BTreeMap::new();
        for (_, status) in completed {
            *statuses.entry(status).or_default() += 1;
        }
        statuses
    }

    /// Judges what has come up at a peer since the last time.
    ///
    /// # Panics
    /// If a frame is wrong, came up twice, or was not sent.
    #[must_use]
    pub fn arrivals(&self, peer: &Peer) -> Arrivals {
        let settled = self.lab.machine().settle();
        settled.unwrap_or_else(|check| panic!("{check}"));
        let mut arrivals = Arrivals::new();
        let mut twice = HashSet::new();
        for seen in peer.listener.take_seen() {
            let judged = self.flows.judge(&seen);
            let (flow, number, came) = judged.unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(self.routes[flow].1, peer.index);
            assert!(
                twice.insert((flow, number)),
                "packet {number} of flow {flow} twice"
            );
            assert!(
                self.ledger.went_out(flow, number),
                "packet {number} of flow {flow} was not sent"
            );
            *arrivals.entry(kind(came)).or_default() += 1;
        }
        arrivals
    }

    /// Unloads the driver.
    ///
    /// # Panics
    /// If something is left, or was found.
    pub fn finish(self) {
        self.lab
            .finish()
            .unwrap_or_else(|error| panic!("{error:#}"));
    }
}

impl Peer {
    /// A counter of the adapter.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn counter(&self, oid: u32) -> u64 {
        let result = self.port.open.oid(OidRequest::query(oid, 8));
        let value = result.ok().and_then(|result| result.u64());
        value.unwrap_or_else(|| panic!("{oid:#x} is not answered"))
    }
}

impl Load {
    /// Waits until so many more packets have been sent.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn pass(&self, packets: u64) {
        let until = self.sent.load(Ordering::Acquire) + packets;
        let began = Instant::now();
        while self.sent.load(Ordering::Acquire) < until {
            assert!(began.elapsed() < PATIENCE, "nothing is sent any more");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Stops, and returns how many packets were sent.
    ///
    /// # Panics
    /// If sending failed.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the sender ends");
        self.sent.load(Ordering::Acquire)
    }
}
