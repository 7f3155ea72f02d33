//! How fast packets get through: framed packets in memory, sent by one adapter in bursts, sealed
//! into the frames of another, verified and decrypted there, indicated and returned.
//!
//! What is timed is the driver and the simulator's NDIS together, on the host's processors. The
//! tap is not there, the canaries are off, and so is the watch over every byte of every buffer;
//! building and comparing packets is outside of the timed part. Every packet is still checked to
//! come up verified.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use ndis_sim::{
    Irql,
    ndis::{PreparedNbl, Protocol, ReceivedNbl, SendOptions, SentNbl},
};
use ndis_sys::{
    IPsecOffloadV2NetBufferListInfo, NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS,
    NDIS_STATUS_SUCCESS,
};
use serde::Serialize;

use crate::{
    lab::{Lab, LabOptions, PATIENCE, net_buffer_list},
    offload::{ReceiveStamp, Way},
    outbound::Sender,
    sas::{Sa, max_overhead},
    split::Split,
};

/// Packets in memory at once: the host has a limited number of fenced mappings. Of longer captures
/// the first so many packets are used.
const AT_ONCE: usize = 8192;

/// All from one processor, as one application would.
const SENDING: SendOptions = SendOptions {
    irql: Irql::DISPATCH,
    cpu: Some(0),
    flags: 0,
    through: false,
};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// Plain frames of one pass.
    pub frames: &'a [&'a [u8]],
    /// Their SAs.
    pub sas: &'a [Sa],
    /// How frames lie in memory.
    pub split: Split,
    /// NET_BUFFER_LISTs per send call.
    pub burst: usize,
    /// Send calls whose packets may be under way at once.
    pub window: usize,
    /// How long to send, at least.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Throughput {
    /// Packets that went all the way.
    pub packets: usize,
    /// Of these, encrypted and verified.
    pub protected: usize,
    /// Bytes of the plain frames.
    pub bytes: usize,
    /// Time in which packets were under way.
    pub seconds: f64,
    /// Bits of plain frames in a nanosecond.
    pub gbit_per_second: f64,
    /// Processors of the simulated machine.
    pub processors: usize,
}

/// Counts what comes up and keeps what was sent for the next pass.
#[derive(Default)]
struct Counter {
    received: AtomicUsize,
    verified: AtomicUsize,
    completed: AtomicUsize,
    failed: AtomicUsize,
    sent: Mutex<Vec<(u64, PreparedNbl)>>,
}

impl Protocol for Counter {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        let is_verified = |nbl: &&ReceivedNbl| {
            let stamp = ReceiveStamp::from_info(nbl.info(IPsecOffloadV2NetBufferListInfo as usize));
            stamp.crypto_done && stamp.crypto_status == ndis_sys::CRYPTO_SUCCESS
        };
        let verified = nbls.iter().filter(is_verified).count();
        let received = nbls.len();
        drop(nbls);
        self.verified.fetch_add(verified, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Release);
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        let count = sent.len();
        let failed = sent
            .iter()
            .filter(|sent| sent.status != NDIS_STATUS_SUCCESS)
            .count();
        self.failed.fetch_add(failed, Ordering::Relaxed);
        lock(&self.sent).extend(
            sent.into_iter()
                .map(|sent| (sent.cookie, sent.into_prepared())),
        );
        self.completed.fetch_add(count, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a list that was only appended to.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures on a machine of its own.
pub fn measure(options: &LabOptions, load: &Load<'_>) -> Result<Throughput> {
    let lab = Lab::start(&LabOptions {
        canaries: false,
        ..options.clone()
    })?;
    lab.machine().ndis().watch_data(false);
    let longest = load
        .frames
        .iter()
        .map(|frame| frame.len())
        .max()
        .unwrap_or(0);
    let largest = longest + max_overhead(load.sas);

    let sender_side = Arc::new(Counter::default());
    let receiver_side = Arc::new(Counter::default());
    let a = lab.port(largest, sender_side.clone())?;
    let b = lab.port(largest, receiver_side.clone())?;
    a.expect_link()?;
    a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)?;
    b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    a.activate_offload()?;
    b.activate_offload()?;
    let outbound = a.offload(load.sas, Way::Outbound)?;
    let inbound = b.offload(load.sas, Way::Inbound)?;

    let mut sender = Sender::new(load.sas, a.offers()?);
    let mut result = Throughput {
        processors: options.processors,
        ..Throughput::default()
    };
    let frames = &load.frames[..load.frames.len().min(AT_ONCE)];
    ensure!(!frames.is_empty(), "there is nothing to measure with");
    // Small inputs are repeated, so that a timed pass is not over before it has begun.
    let pass: Vec<&[u8]> = frames
        .iter()
        .copied()
        .cycle()
        .take(AT_ONCE / frames.len() * frames.len())
        .collect();
    let mut ready: Vec<PreparedNbl> = Vec::new();
    let mut timed = Duration::ZERO;
    // The first pass is for caches, page tables and what is made lazily: it does not count.
    for number in 0.. {
        // Every pass has its own sequence numbers: an IV never repeats under a key.
        let mut protected = 0;
        for (index, frame) in pass.iter().enumerate() {
            let outgoing = sender.prepare(index + 1, frame)?;
            protected += usize::from(outgoing.protection.is_ok());
            match ready.get_mut(index) {
                Some(nbl) => nbl.rewrite(0, &outgoing.frame),
                None => ready.push(
                    net_buffer_list(&outgoing, &outbound, load.split)?
                        .compact()
                        .prepare(lab.machine()),
                ),
            }
        }
        let mut bursts = Vec::new();
        while !ready.is_empty() {
            bursts.push(ready.split_off(ready.len().saturating_sub(load.burst.max(1))));
        }
        let before = receiver_side.received.load(Ordering::Acquire);
        let completed = sender_side.completed.load(Ordering::Acquire);

        let start = Instant::now();
        let mut sent = 0;
        for burst in bursts.into_iter().rev() {
            sent += burst.len();
            a.open.send_with(burst, SENDING)?;
            let behind = load.window * load.burst;
            wait_for(
                &lab,
                &receiver_side.received,
                (before + sent).saturating_sub(behind),
            )?;
        }
        wait_for(&lab, &receiver_side.received, before + sent)?;
        wait_for(&lab, &sender_side.completed, completed + sent)?;
        let took = start.elapsed();

        let mut sent = std::mem::take(&mut *lock(&sender_side.sent));
        sent.sort_by_key(|(cookie, _)| *cookie);
        ready = sent.into_iter().map(|(_, nbl)| nbl).collect();
        let verified = receiver_side.verified.swap(0, Ordering::Relaxed);
        ensure!(
            verified == protected,
            "of {protected} protected packets {verified} came up verified while the throughput was measured"
        );
        if number > 0 {
            timed += took;
            result.packets += pass.len();
            result.protected += protected;
            result.bytes += pass.iter().map(|frame| frame.len()).sum::<usize>();
        }
        if timed >= load.duration && result.packets > 0 {
            break;
        }
    }

    ensure!(
        sender_side.failed.load(Ordering::Relaxed) == 0,
        "sends failed while the throughput was measured"
    );
    a.delete_sas(&outbound)?;
    b.delete_sas(&inbound)?;
    drop((a, b));
    lab.finish()?;
    result.seconds = timed.as_secs_f64();
    result.gbit_per_second = result.bytes as f64 * 8.0 / 1e9 / result.seconds;
    Ok(result)
}

/// Waits until the counter has reached `count`.
fn wait_for(lab: &Lab, counter: &AtomicUsize, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while counter.load(Ordering::Acquire) < count {
        if let Some(check) = lab.machine().bug_check() {
            return Err(check.into());
        }
        ensure!(
            Instant::now() < deadline,
            "{} of {count} packets came up while the throughput was measured",
            counter.load(Ordering::Acquire)
        );
        std::thread::yield_now();
    }
    Ok(())
}
