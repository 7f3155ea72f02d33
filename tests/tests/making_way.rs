//! What the DPCs of the driver do when they have had the processor for long enough: a work item goes on.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipsecov2_tests::switch::{PATIENCE, Switch, SwitchPort, check, config, frame};
use ndis_sim::{
    Machine,
    ndis::{
        Adapter, AdapterState, BusyWorkers, Error, OidRequest, Open, PowerState, Protocol,
        ReceivedNbl, SendNbl, SendOptions,
    },
};
use ndis_sys::*;

/// What a call sends itself; the rest goes through the queue.
const CALL: usize = 128;

/// A transport that notes the numbers of the frames that come up.
#[derive(Default)]
struct Reader {
    inside: AtomicBool,
    overlapped: AtomicBool,
    numbers: Mutex<Vec<u32>>,
}

impl Protocol for Reader {
    fn receive(&self, lists: Vec<ReceivedNbl>, _: u32) {
        if self.inside.swap(true, Ordering::AcqRel) {
            self.overlapped.store(true, Ordering::Release);
        }
        let numbers = lists.iter().map(|list| {
            let data = list.data(0);
            u32::from_be_bytes(data[20..24].try_into().unwrap())
        });
        self.numbers.lock().unwrap().extend(numbers);
        self.inside.store(false, Ordering::Release);
    }
}

fn listen(open: &Open) {
    let filter = NDIS_PACKET_TYPE_DIRECTED.to_le_bytes();
    let set = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter);
    assert_eq!(check(open.oid(set)).status, NDIS_STATUS_SUCCESS);
}

/// With no time left in any DPC everything that is deferred goes through work items, and nothing is
/// lost, doubled or overtaken; neither is it when there is time again.
#[test]
fn frames_keep_their_order() {
    for processors in [1, 3] {
        let switch = Switch::on(Machine::builder().processors(processors).build(), 610);
        let watchdog = &switch.machine.kernel().dpc_watchdog;
        let a = switch.port();
        let reader = Arc::new(Reader::default());
        let b = check(switch.driver.add_adapter(config()));
        let open = check(b.open(reader.clone()));
        listen(&open);

        let mut number = 0_u32;
        for round in 0..24 {
            watchdog.exhausted(round % 3 != 2);
            let lists: Vec<_> = (0..CALL + 70)
                .map(|_| {
                    let mut bytes = frame(b.mac(), a.adapter.mac(), 64);
                    bytes[20..24].copy_from_slice(&number.to_be_bytes());
                    number += 1;
                    SendNbl::new(bytes).prepare(&switch.machine)
                })
                .collect();
            let options = SendOptions {
                cpu: Some(round % processors),
                ..SendOptions::default()
            };
            check(a.open.send_with(lists, options));
            // The receiver has 512 buffers.
            if round % 2 == 1 {
                switch.machine.settle().unwrap();
            }
        }
        switch.machine.settle().unwrap();
        assert!(!reader.overlapped.load(Ordering::Acquire));
        assert_eq!(
            *reader.numbers.lock().unwrap(),
            (0..number).collect::<Vec<_>>()
        );
        // In 16 rounds, and one for either direction at least.
        let work_items = switch.machine.ndis().work_items_run();
        assert!(work_items >= 32, "{work_items} work items");
        drop(open);
        switch.finish();
    }
}

/// A transport that answers every frame, as the two ends of a connection do, until it has seen so many.
struct Answering {
    open: OnceLock<Open>,
    answer: Vec<u8>,
    left: Arc<AtomicUsize>,
}

impl Protocol for Answering {
    fn receive(&self, lists: Vec<ReceivedNbl>, _: u32) {
        for _ in lists {
            let one_less = |left: usize| left.checked_sub(1);
            let left = self
                .left
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
            if left.is_ok() {
                let open = self.open.get().expect("bound before anything is sent");
                check(open.send(vec![SendNbl::new(self.answer.clone())]));
            }
        }
    }
}

/// Two adapters whose transports answer each other: each receive DPC queues the other's, on the only
/// processor. Returns the machine's longest series of DPCs.
fn converse(limit: Option<u32>, frames: usize) -> u32 {
    let switch = Switch::on(Machine::builder().processors(1).build(), 620);
    switch.machine.kernel().dpc_watchdog.limit(limit);
    let left = Arc::new(AtomicUsize::new(frames));
    let adapters = [(); 2].map(|()| check(switch.driver.add_adapter(config())));
    let opens: Vec<_> = [(0, 1), (1, 0)]
        .map(|(own, other): (usize, usize)| {
            let answering = Arc::new(Answering {
                open: OnceLock::new(),
                answer: frame(adapters[other].mac(), adapters[own].mac(), 64),
                left: left.clone(),
            });
            let open = check(adapters[own].open(answering.clone()));
            listen(&open);
            assert!(answering.open.set(open.clone()).is_ok());
            (answering, open)
        })
        .into();
    let (answering, open) = &opens[0];
    check(open.send(vec![SendNbl::new(answering.answer.clone())]));
    switch.machine.settle().unwrap();
    assert_eq!(left.load(Ordering::Acquire), 0, "the conversation stopped");
    let longest = switch.machine.kernel().dpc_watchdog.longest_series();
    for adapter in adapters {
        check(adapter.halt());
    }
    drop(opens);
    switch.finish();
    longest
}

/// The simulator stops the machine when a series has more DPCs than the limit (bug check 0x133, 1).
#[test]
fn adapters_that_keep_each_other_busy_let_the_processor_go_in_time() {
    for limit in [40, 400] {
        let longest = converse(Some(limit), 3000);
        let expected = limit / 4 * 3..limit;
        assert!(expected.contains(&longest), "{longest} DPCs of {limit}");
    }
}

/// No limit, as where the watchdog is switched off, and one that is very far.
#[test]
fn the_processor_is_let_go_without_a_watchdog_too() {
    for limit in [None, Some(1_000_000)] {
        let longest = converse(limit, 20_000);
        // Every 512th run of either receive DPC.
        assert!((512..=1100).contains(&longest), "{longest} DPCs");
    }
}

/// Two adapters, both of which have a work item queued that does not get to run: one has frames to send,
/// the other to receive.
struct Held {
    switch: Switch,
    a: SwitchPort,
    b: SwitchPort,
    busy: BusyWorkers,
}

impl Held {
    fn new() -> Self {
        let switch = Switch::new(630);
        let (a, b) = (switch.port(), switch.port());
        for port in [&a, &b] {
            port.filter(NDIS_PACKET_TYPE_DIRECTED);
        }
        let busy = BusyWorkers::on(&switch.machine);
        switch.machine.kernel().dpc_watchdog.exhausted(true);
        let list =
            |number| SendNbl::new(frame(b.adapter.mac(), a.adapter.mac(), 64)).cookie(number);
        check(a.open.send((0..CALL as u64 + 70).map(list).collect()));
        let ndis = switch.machine.ndis();
        wait(|| ndis.work_items_waiting() == 2);
        Self { switch, a, b, busy }
    }

    /// Does `what` to `adapter`. It waits for the work item, which runs when it gets a worker.
    fn waits<R: Send + 'static>(
        self,
        adapter: fn(&Self) -> &SwitchPort,
        what: impl FnOnce(&Adapter) -> Result<R, Error> + Send + 'static,
        begun: impl Fn(&Adapter) -> bool,
    ) -> (Switch, SwitchPort, SwitchPort) {
        let adapter = adapter(&self).adapter.clone();
        let doing = {
            let adapter = adapter.clone();
            thread::spawn(move || what(&adapter))
        };
        wait(|| doing.is_finished() || begun(&adapter));
        // Time for what does not wait to finish, and to do harm.
        thread::sleep(Duration::from_millis(30));
        assert!(!doing.is_finished(), "it did not wait");
        drop(self.busy);
        check(doing.join().unwrap());
        self.switch.machine.settle().unwrap();
        (self.switch, self.a, self.b)
    }
}

fn wait(until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < PATIENCE, "never");
        thread::yield_now();
    }
}

fn sender(held: &Held) -> &SwitchPort {
    &held.a
}

fn receiver(held: &Held) -> &SwitchPort {
    &held.b
}

/// The statuses of the sends: those of the call itself, and those behind it.
fn statuses(a: &SwitchPort, switch: &Switch) -> (Vec<i32>, Vec<i32>) {
    let mut sent = check(a.protocol.wait_sent(&switch.machine, CALL + 70, PATIENCE));
    assert_eq!(sent.len(), CALL + 70);
    sent.sort_by_key(|list| list.cookie);
    let statuses: Vec<_> = sent.into_iter().map(|list| list.status).collect();
    let (inline, queued) = statuses.split_at(CALL);
    (inline.to_vec(), queued.to_vec())
}

/// Everything works afterwards, with time and without.
fn works(switch: &Switch, a: &SwitchPort, b: &SwitchPort) {
    drop(b.received());
    for exhausted in [true, false] {
        switch.machine.kernel().dpc_watchdog.exhausted(exhausted);
        let bytes = frame(b.adapter.mac(), a.adapter.mac(), 80);
        let lists = || {
            (0..CALL + 20)
                .map(|_| SendNbl::new(bytes.clone()))
                .collect()
        };
        assert_eq!(a.send(lists()), [NDIS_STATUS_SUCCESS; CALL + 20]);
        assert_eq!(b.received_bytes(), vec![bytes.clone(); CALL + 20]);
    }
}

#[test]
fn a_pause_waits_for_the_work_item_that_sends() {
    let held = Held::new();
    let (switch, a, b) = held.waits(sender, Adapter::pause, Adapter::pause_pends);
    let (inline, queued) = statuses(&a, &switch);
    assert_eq!(inline, [NDIS_STATUS_SUCCESS; CALL]);
    assert_eq!(queued, [NDIS_STATUS_PAUSED; 70]);
    check(a.adapter.restart());
    works(&switch, &a, &b);
    switch.finish();
}

#[test]
fn a_reset_waits_for_the_work_item_that_sends() {
    let held = Held::new();
    let (switch, a, b) = held.waits(sender, Adapter::reset, Adapter::reset_pends);
    let (inline, queued) = statuses(&a, &switch);
    assert_eq!(inline, [NDIS_STATUS_SUCCESS; CALL]);
    assert_eq!(queued, [NDIS_STATUS_RESET_IN_PROGRESS; 70]);
    works(&switch, &a, &b);
    switch.finish();
}

/// Nothing is indicated, and nothing of the adapter used, when it is in low power.
#[test]
fn low_power_waits_for_the_work_item_that_receives() {
    let down = |adapter: &Adapter| adapter.set_power(PowerState::D3);
    let paused = |adapter: &Adapter| adapter.state() == AdapterState::Paused;
    let (switch, a, b) = Held::new().waits(receiver, down, paused);
    assert!(b.received().is_empty());
    check(b.adapter.set_power(PowerState::D0));
    drop(statuses(&a, &switch));
    works(&switch, &a, &b);
    switch.finish();
}

#[test]
fn a_halt_waits_for_the_work_item() {
    for (which, port) in [sender as fn(&Held) -> &SwitchPort, receiver]
        .iter()
        .zip(0..)
    {
        let running = |adapter: &Adapter| adapter.state() != AdapterState::Running;
        let (switch, a, b) = Held::new().waits(*which, Adapter::halt, running);
        let (_, queued) = statuses(&a, &switch);
        let expected = [NDIS_STATUS_PAUSED, NDIS_STATUS_SUCCESS][port];
        assert_eq!(queued, [expected; 70]);
        drop((a, b));
        switch.finish();
    }
}

#[test]
fn surprise_removal_waits_for_the_work_item() {
    for which in [sender, receiver] {
        let held = Held::new();
        let adapter = which(&held).adapter.clone();
        // The notification waits for the receiver, and the halt for either.
        let (switch, a, b) = held.waits(which, Adapter::surprise_remove, |_| true);
        let (_, queued) = statuses(&a, &switch);
        let gone = adapter.mac() == a.adapter.mac();
        let expected = if gone {
            NDIS_STATUS_NOT_ACCEPTED
        } else {
            NDIS_STATUS_SUCCESS
        };
        assert_eq!(queued, [expected; 70]);
        drop((a, b));
        switch.finish();
    }
}

/// One work item for either direction.
#[test]
fn an_adapter_without_work_items_does_not_start() {
    let switch = Switch::new(610);
    for which in 0..2 {
        let fails = move |name: &str, before| name == "NdisAllocateIoWorkItem" && before == which;
        switch.machine.faults().fail_if(fails);
        match switch.driver.add_adapter(config()) {
            Err(Error::Status(status)) => assert_eq!(status, NDIS_STATUS_RESOURCES),
            other => panic!("{:?}", other.map(|_| "started")),
        }
        switch.machine.faults().clear();
    }
    let adapter = check(switch.driver.add_adapter(config()));
    check(adapter.halt());
    switch.finish();
}
