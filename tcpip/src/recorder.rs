//! The protocol driver's half of a binding: notes what comes up and what was sent.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use ndis_sim::{
    Machine,
    ndis::{Protocol, ReceivedNbl, SentNbl},
};
use ndis_sys::{
    IPsecOffloadV2HeaderNetBufferListInfo, IPsecOffloadV2NetBufferListInfo,
    IPsecOffloadV2TunnelNetBufferListInfo, TcpIpChecksumNetBufferListInfo,
};

use crate::{
    checksum::ChecksumStamp,
    offload::{ReceiveStamp, receive_header},
    unframe::HeaderInfo,
};

/// A packet as the driver indicated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicated {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// `IPsecOffloadV2NetBufferListInfo`.
    pub stamp: ReceiveStamp,
    /// `IPsecOffloadV2HeaderNetBufferListInfo`, if set.
    pub header: Option<HeaderInfo>,
    /// `TcpIpChecksumNetBufferListInfo`.
    pub checksums: ChecksumStamp,
    /// `IPsecOffloadV2TunnelNetBufferListInfo`: nothing of it is defined for receiving.
    pub tunnel: usize,
}

/// A completed send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The number that the sender gave it.
    pub cookie: u64,
    /// Its NDIS_STATUS.
    pub status: i32,
}

#[derive(Default)]
struct Seen {
    received: Vec<Indicated>,
    completed: Vec<Completed>,
}

/// Records in order and returns each NET_BUFFER_LIST at once.
pub struct Recorder {
    machine: Weak<Machine>,
    seen: Mutex<Seen>,
    more: Condvar,
}

impl Recorder {
    /// A recorder for a binding on `machine`; once that stops, nothing is waited for.
    pub fn on(machine: &Arc<Machine>) -> Arc<Self> {
        Arc::new(Self {
            machine: Arc::downgrade(machine),
            seen: Mutex::default(),
            more: Condvar::new(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic elsewhere leaves only lists that were appended to.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&mut Seen) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.seen();
        loop {
            if let Some(result) = done(&mut seen) {
                return Some(result);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if self
                .machine
                .upgrade()
                .is_none_or(|machine| machine.is_stopped())
            {
                return None;
            }
            (seen, _) = self
                .more
                .wait_timeout(seen, left.min(Duration::from_millis(100)))
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes `count` packets, or as many as came until the timeout.
    pub fn take_received(&self, count: usize, timeout: Duration) -> Vec<Indicated> {
        self.wait(timeout, |seen| {
            (seen.received.len() >= count).then(|| seen.received.drain(..count).collect())
        })
        .unwrap_or_else(|| std::mem::take(&mut self.seen().received))
    }

    /// Takes `count` completions, or as many as came until the timeout.
    pub fn take_completed(&self, count: usize, timeout: Duration) -> Vec<Completed> {
        self.wait(timeout, |seen| {
            (seen.completed.len() >= count).then(|| seen.completed.drain(..count).collect())
        })
        .unwrap_or_else(|| std::mem::take(&mut self.seen().completed))
    }
}

impl Protocol for Recorder {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        let mut received = Vec::new();
        for nbl in &nbls {
            let stamp = nbl.info(IPsecOffloadV2NetBufferListInfo as usize);
            let header = nbl.info(IPsecOffloadV2HeaderNetBufferListInfo as usize);
            let checksums = nbl.info(TcpIpChecksumNetBufferListInfo as usize);
            let tunnel = nbl.info(IPsecOffloadV2TunnelNetBufferListInfo as usize);
            received.extend((0..nbl.net_buffer_count()).map(|index| Indicated {
                frame: nbl.data(index),
                stamp: ReceiveStamp::from_info(stamp),
                header: receive_header(header),
                checksums: ChecksumStamp::from_info(checksums),
                tunnel,
            }));
        }
        drop(nbls);
        self.seen().received.append(&mut received);
        self.more.notify_all();
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        let completed = sent.iter().map(|sent| Completed {
            cookie: sent.cookie,
            status: sent.status,
        });
        self.seen().completed.extend(completed);
        self.more.notify_all();
    }
}
