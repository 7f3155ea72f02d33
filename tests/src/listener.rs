//! The transport's half of a binding: notes all that comes up, keeps some of it for a while, and counts
//! what the adapter's statistics are to say.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ndis_sim::ndis::{Protocol, ReceivedNbl, SentNbl};
use ndis_sys::*;
use tcpip::{
    checksum::ChecksumStamp,
    offload::{ReceiveStamp, receive_header},
    recorder::Indicated,
};

use crate::{
    flow::Flows,
    ledger::{Ledger, flow_of},
};

const VERIFIED: ReceiveStamp = ReceiveStamp {
    crypto_done: true,
    ..ReceiveStamp::NONE
};

/// One binding's.
pub struct Listener {
    ledger: Arc<Ledger>,
    flows: Arc<Flows>,
    /// Of each flow: a packet was sealed, or opened, by this adapter.
    passed: Vec<AtomicBool>,
    holds: bool,
    random: Mutex<fastrand::Rng>,
    seen: Mutex<Vec<Indicated>>,
    held: Mutex<Vec<ReceivedNbl>>,
    /// Packets of sends that were completed with success.
    pub succeeded: AtomicU64,
    /// Sends completed with NDIS_STATUS_FAILURE.
    pub failed: AtomicU64,
    /// Sends completed with NDIS_STATUS_RESOURCES.
    pub starved: AtomicU64,
    /// Segments of large sends that were completed otherwise: any number of them may have gone out.
    pub doubtful: AtomicU64,
    /// Frames that came up.
    pub received: AtomicU64,
    /// Sends completed with another status than success and those two.
    pub refused: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// A transport that enters completions into `ledger`, and with `holds` keeps any part of what an
    /// indication brings.
    pub fn new(
        ledger: Arc<Ledger>,
        flows: Arc<Flows>,
        holds: bool,
        random: fastrand::Rng,
    ) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            passed: flows.0.iter().map(|_| AtomicBool::new(false)).collect(),
            flows,
            holds,
            random: Mutex::new(random),
            seen: Mutex::default(),
            held: Mutex::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            doubtful: AtomicU64::new(0),
            received: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether the adapter has sealed or opened a packet of this flow.
    pub fn has_passed(&self, flow: usize) -> bool {
        self.passed[flow].load(Ordering::Acquire)
    }

    /// Sends that were not completed with success.
    pub fn unsent(&self) -> u64 {
        let counters = [&self.failed, &self.starved, &self.refused];
        let counts = counters.map(|counter| counter.load(Ordering::Acquire));
        counts.iter().sum()
    }

    /// The lists that it has kept.
    pub fn take_held(&self) -> Vec<ReceivedNbl> {
        std::mem::take(&mut lock(&self.held))
    }

    /// What came up.
    pub fn take_seen(&self) -> Vec<Indicated> {
        std::mem::take(&mut lock(&self.seen))
    }
}

impl Protocol for Listener {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        let seen: Vec<_> = nbls
            .iter()
            .map(|nbl| Indicated {
                frame: nbl.data(0),
                stamp: ReceiveStamp::from_info(nbl.info(IPsecOffloadV2NetBufferListInfo as usize)),
                header: receive_header(nbl.info(IPsecOffloadV2HeaderNetBufferListInfo as usize)),
                tunnel: nbl.info(IPsecOffloadV2TunnelNetBufferListInfo as usize),
                checksums: ChecksumStamp::from_info(
                    nbl.info(TcpIpChecksumNetBufferListInfo as usize),
                ),
            })
            .collect();
        self.received
            .fetch_add(seen.len() as u64, Ordering::Relaxed);
        for indicated in seen.iter().filter(|seen| seen.stamp == VERIFIED) {
            if let Ok((flow, _)) = self.flows.identify(&indicated.frame) {
                self.passed[flow].store(true, Ordering::Release);
            }
        }
        lock(&self.seen).extend(seen);
        if self.holds {
            let kept = lock(&self.random).usize(..=nbls.len());
            // The rest goes back from within the indication.
            let mut nbls = nbls;
            lock(&self.held).extend(nbls.drain(..kept));
        }
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        for nbl in &sent {
            self.ledger.completed(nbl.cookie, nbl.status);
            let flow = flow_of(nbl.cookie);
            let packets = self.flows.0[flow].per_list();
            if nbl.status == NDIS_STATUS_SUCCESS {
                self.passed[flow].store(true, Ordering::Release);
                self.succeeded.fetch_add(packets, Ordering::Relaxed);
                continue;
            }
            self.doubtful.fetch_add(packets - 1, Ordering::Relaxed);
            let counter = match nbl.status {
                NDIS_STATUS_FAILURE => &self.failed,
                NDIS_STATUS_RESOURCES => &self.starved,
                _ => &self.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}
