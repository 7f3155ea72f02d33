//! NDISTest 6.0 - [2 Machine] - 2c_Mini6SendRecvReply.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{LONGEST, SHORTEST, USUAL, number_of, numbered, padded, roomy},
    switch::{PATIENCE, Switch, VERSIONS, check},
};
use ndis_sim::ndis::{Adapter, OidRequest, Open, Protocol, ReceivedNbl, SendNbl, SentNbl};
use ndis_sys::{NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER, OID_GEN_RCV_NO_BUFFER};

/// Requests of each side, and how many of them wait for their replies at a time.
const REQUESTS: u32 = 2000;
const WINDOW: u32 = 100;
/// Replies bear the number of the request and this bit.
const REPLY: u32 = 1 << 31;

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for (size, version) in [SHORTEST, 500, LONGEST].into_iter().zip(VERSIONS) {
        for both in [false, true] {
            let who = if both {
                "both sides ask"
            } else {
                "the test adapter asks"
            };
            cases.push(Case::new(
                format!("{size} bytes, {who}"),
                "every request is replied to from within its receive indication, and every reply comes up",
                move |figures| converse(version, size, both, figures),
            ));
        }
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Mini6SendRecvReply",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "each adapter sends packets that the other replies to, at the same time: continuous traffic both ways",
        cases,
    }
}

/// A transport that replies to requests and tells of replies.
struct Talker {
    /// None until it is bound and after it is unbound.
    open: Mutex<Option<Open>>,
    replies: Mutex<mpsc::Sender<u32>>,
    statuses: Mutex<BTreeMap<i32, u32>>,
    /// Frames that did not come up as they were sent.
    changed: Mutex<Vec<u32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Protocol for Talker {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        let mut lists = Vec::new();
        for nbl in &nbls {
            let frame = nbl.data(0);
            let (destination, source) = addresses(&frame);
            let number = number_of(&frame);
            let expected = padded(numbered(destination, source, number, frame.len()));
            if frame != expected {
                lock(&self.changed).push(number);
                continue;
            }
            if number & REPLY != 0 {
                let _ = lock(&self.replies).send(number & !REPLY);
            } else {
                let reply = numbered(source, destination, number | REPLY, frame.len());
                lists.push(SendNbl::new(reply).compact());
            }
        }
        drop(nbls);
        let open = lock(&self.open).clone();
        if let Some(open) = open.filter(|_| !lists.is_empty()) {
            // A stopped machine is noticed by whoever waits for the reply.
            let _ = open.send(lists);
        }
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        let mut statuses = lock(&self.statuses);
        for list in sent {
            *statuses.entry(list.status).or_default() += 1;
        }
    }
}

fn addresses(frame: &[u8]) -> ([u8; 6], [u8; 6]) {
    let (addresses, _) = frame.as_chunks::<6>();
    (addresses[0], addresses[1])
}

struct Side {
    adapter: Adapter,
    talker: Arc<Talker>,
    open: Open,
    replies: mpsc::Receiver<u32>,
}

impl Side {
    fn start(switch: &Switch) -> Self {
        let (sender, replies) = mpsc::channel();
        let talker = Arc::new(Talker {
            open: Mutex::default(),
            replies: Mutex::new(sender),
            statuses: Mutex::default(),
            changed: Mutex::default(),
        });
        let adapter = check(switch.driver.add_adapter(roomy()));
        let open = check(adapter.open(Arc::clone(&talker) as Arc<_>));
        let filter = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, USUAL.to_le_bytes());
        assert_eq!(check(open.oid(filter)).status, NDIS_STATUS_SUCCESS);
        *lock(&talker.open) = Some(open.clone());
        Self {
            adapter,
            talker,
            open,
            replies,
        }
    }

    /// Asks, and waits for the replies, which come in any order of the two directions but each once.
    fn ask(&mut self, to: [u8; 6], size: usize) {
        let mut replied = vec![false; REQUESTS as usize];
        let mut next = 0;
        for answered in 0..REQUESTS {
            while next < REQUESTS && next < answered + WINDOW {
                let last = (next + 10).min(REQUESTS).min(answered + WINDOW);
                let frames = (next..last).map(|number| {
                    SendNbl::new(numbered(to, self.adapter.mac(), number, size)).compact()
                });
                check(self.open.send(frames.collect()));
                next = last;
            }
            let number = self.replies.recv_timeout(PATIENCE);
            let number = number.unwrap_or_else(|_| {
                let stopped = self.open.machine().bug_check();
                panic!("{answered} of {next} replies came: {stopped:?}")
            });
            let seen = &mut replied[number as usize];
            assert!(!std::mem::replace(seen, true), "reply {number} twice");
        }
    }
}

fn converse(version: u32, size: usize, both: bool, figures: &mut Figures) {
    let switch = Switch::new(version);
    let mut sides = [Side::start(&switch), Side::start(&switch)];
    let [test, support] = &mut sides;
    let macs = [test.adapter.mac(), support.adapter.mac()];
    std::thread::scope(|scope| {
        if both {
            scope.spawn(|| support.ask(macs[0], size));
        }
        test.ask(macs[1], size);
    });
    switch
        .machine
        .settle()
        .unwrap_or_else(|check| panic!("{check}"));
    // What one side asks the other replies to.
    let asked = if both { 2 * REQUESTS } else { REQUESTS };
    for side in &sides {
        let expected = BTreeMap::from([(NDIS_STATUS_SUCCESS, asked)]);
        assert_eq!(*lock(&side.talker.statuses), expected);
        assert!(lock(&side.talker.changed).is_empty(), "frames were changed");
        let lost = check(side.open.oid(OidRequest::query(OID_GEN_RCV_NO_BUFFER, 8)));
        assert_eq!(lost.u64(), Some(0));
    }
    figures.note("requests", asked);
    for side in sides {
        lock(&side.talker.open).take();
    }
    switch.finish();
}
