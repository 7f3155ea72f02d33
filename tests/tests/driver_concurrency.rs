//! The data path on several processors, and with transports that come back into the driver.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipsecov2_tests::{
    adapter::TestAdapter,
    load::{Arrivals, SEALED, Wire},
    switch::{PATIENCE, Switch, check, config, frame},
};
use ndis_sim::{
    Irql, Machine,
    ndis::{AdapterState, Open, PowerState, Protocol, ReceivedNbl, SendNbl, SendOptions, SentNbl},
};
use ndis_sys::*;
use tcpip::{
    algorithm::Encryption,
    lab::NdisVersion,
    offload::Way,
    policy::{Keys, Offers, make_sas},
    synthetic,
};

/// A transport that is slow to receive, and notes the order.
#[derive(Default)]
struct Slow {
    inside: AtomicBool,
    overlapped: AtomicBool,
    numbers: Mutex<Vec<u32>>,
}

impl Protocol for Slow {
    fn receive(&self, lists: Vec<ReceivedNbl>, _: u32) {
        if self.inside.swap(true, Ordering::AcqRel) {
            self.overlapped.store(true, Ordering::Release);
        }
        let until = Instant::now() + Duration::from_millis(2);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let numbers = lists.iter().map(|list| {
            let data = list.data(0);
            u32::from_be_bytes(data[20..24].try_into().unwrap())
        });
        self.numbers.lock().unwrap().extend(numbers);
        self.inside.store(false, Ordering::Release);
    }
}

#[test]
fn frames_of_one_flow_do_not_overtake_each_other() {
    let switch = Switch::on(Machine::builder().processors(3).build(), 610);
    let a = switch.port();
    let slow = Arc::new(Slow::default());
    let b = check(switch.driver.add_adapter(config()));
    let open = check(b.open(slow.clone()));
    let filter = NDIS_PACKET_TYPE_DIRECTED.to_le_bytes();
    let set = ndis_sim::ndis::OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter);
    assert_eq!(check(open.oid(set)).status, NDIS_STATUS_SUCCESS);

    // One sender after the other, each on another processor than the one before.
    let mut number = 0_u32;
    for round in 0..12 {
        let lists = (0..40).map(|_| {
            let mut bytes = frame(b.mac(), a.adapter.mac(), 64);
            bytes[20..24].copy_from_slice(&number.to_be_bytes());
            number += 1;
            SendNbl::new(bytes).prepare(&switch.machine)
        });
        let options = SendOptions {
            cpu: Some(round % 3),
            ..SendOptions::default()
        };
        check(a.open.send_with(lists.collect(), options));
    }
    switch.machine.settle().unwrap();
    assert!(
        !slow.overlapped.load(Ordering::Acquire),
        "two indications at a time"
    );
    assert_eq!(
        *slow.numbers.lock().unwrap(),
        (0..number).collect::<Vec<_>>()
    );
    drop(open);
    switch.finish();
}

/// A transport that sends the next frame on the other adapter whenever one is done.
#[derive(Default)]
struct Restless {
    opens: Mutex<Vec<Open>>,
    frame: Mutex<Vec<u8>>,
    done: AtomicUsize,
    depth: AtomicUsize,
    deepest: AtomicUsize,
}

impl Protocol for Restless {
    fn receive(&self, _: Vec<ReceivedNbl>, _: u32) {}

    fn send_complete(&self, sent: Vec<SentNbl>, _: u32) {
        let depth = 1 + self.depth.fetch_add(1, Ordering::Relaxed);
        self.deepest.fetch_max(depth, Ordering::Relaxed);
        for _ in sent {
            let number = self.done.fetch_add(1, Ordering::Relaxed);
            if number < 3000 {
                let list = SendNbl::new(self.frame.lock().unwrap().clone());
                let open = {
                    let opens = self.opens.lock().unwrap();
                    opens[number % opens.len()].clone()
                };
                check(open.send(vec![list]));
            }
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn sends_from_completion_handlers_do_not_nest() {
    for adapters in [1, 2, 8] {
        let switch = Switch::on(Machine::builder().processors(1).build(), 610);
        let restless = Arc::new(Restless::default());
        let opens: Vec<_> = (0..adapters)
            .map(|_| {
                let adapter = check(switch.driver.add_adapter(config()));
                *restless.frame.lock().unwrap() = frame([0xff; 6], adapter.mac(), 64);
                check(adapter.open(restless.clone()))
            })
            .collect();
        let first = opens[0].clone();
        *restless.opens.lock().unwrap() = opens;
        let list = SendNbl::new(restless.frame.lock().unwrap().clone());
        check(first.send(vec![list]));
        switch.machine.settle().unwrap();
        assert_eq!(restless.done.load(Ordering::Relaxed), 3001);
        let deepest = restless.deepest.load(Ordering::Relaxed);
        assert!(deepest <= 2, "{deepest} sends nest on {adapters} adapters");
        restless.opens.lock().unwrap().clear();
        drop(first);
        switch.finish();
    }
}

/// A transport whose completion handler does not return before it is let go.
#[derive(Default)]
struct Stuck {
    /// How many lists it takes before.
    free: AtomicUsize,
    hold: AtomicBool,
    inside: AtomicBool,
}

impl Protocol for Stuck {
    fn receive(&self, _: Vec<ReceivedNbl>, _: u32) {}

    fn send_complete(&self, sent: Vec<SentNbl>, _: u32) {
        let left = |free: usize| free.checked_sub(sent.len());
        if self
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, left)
            .is_ok()
        {
            return;
        }
        self.inside.store(true, Ordering::Release);
        while self.hold.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        self.inside.store(false, Ordering::Release);
    }
}

/// While a send is on its way through another processor a reset pends; SAs are not added then, but
/// may be deleted; the reset completes with that send.
#[test]
fn a_reset_waits_for_the_sends_under_way() {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        let frames = [synthetic::udp_v4(100).unwrap()];
        let file = make_sas(
            frames.iter().map(Vec::as_slice),
            &Offers::EVERYTHING,
            Encryption::AesGcm128,
            16,
            Keys::Seed(4),
        )
        .unwrap();
        let handle = adapter.add_one(&file.sas[0], Way::Inbound);
        let stuck = Arc::new(Stuck::default());
        let open = check(adapter.port.adapter.open(stuck.clone()));
        stuck.hold.store(true, Ordering::Release);
        let sending = {
            let open = open.clone();
            let list = SendNbl::new(frame([0xff; 6], [2; 6], 64)).prepare(open.machine());
            let options = SendOptions {
                cpu: Some(0),
                ..SendOptions::default()
            };
            thread::spawn(move || open.send_with(vec![list], options))
        };
        wait(|| stuck.inside.load(Ordering::Acquire));
        let resetting = {
            let adapter = adapter.port.adapter.clone();
            thread::spawn(move || adapter.reset())
        };
        let the_adapter = &adapter.port.adapter;
        wait(|| resetting.is_finished() || the_adapter.reset_pends());
        assert!(!resetting.is_finished(), "the reset did not wait");
        let add = adapter.add(adapter.add_sa_buffer(&file.sas[0], Way::Inbound));
        assert_eq!(add.status, NDIS_STATUS_NOT_ACCEPTED);
        assert_eq!(adapter.delete(&[handle]).status, NDIS_STATUS_SUCCESS);
        assert!(the_adapter.reset_pends(), "the reset did not wait");
        stuck.hold.store(false, Ordering::Release);
        check(sending.join().unwrap());
        check(resetting.join().unwrap());
        // The SA went, and another one comes.
        let again = adapter.add_one(&file.sas[0], Way::Inbound);
        assert_ne!(again, handle);
        assert_eq!(adapter.delete(&[again]).status, NDIS_STATUS_SUCCESS);
        drop(open);
        adapter.finish();
    }
}

/// NDIS waits for the calls of the sends before it pauses; what has been left to the DPC by then is the
/// driver's to wait for.
#[test]
fn a_pause_waits_for_the_sends_under_way() {
    // What a call sends itself, and more.
    const CALL: usize = 128;
    let switch = Switch::new(610);
    let stuck = Arc::new(Stuck::default());
    let adapter = check(switch.driver.add_adapter(config()));
    let open = check(adapter.open(stuck.clone()));
    stuck.free.store(CALL, Ordering::Release);
    stuck.hold.store(true, Ordering::Release);
    let list = |_| SendNbl::new(frame([0xff; 6], adapter.mac(), 64)).prepare(open.machine());
    let lists = (0..CALL + 50).map(list).collect();
    // At DISPATCH_LEVEL, so that the DPC comes after the call.
    let options = SendOptions {
        cpu: Some(0),
        irql: Irql::DISPATCH,
        ..SendOptions::default()
    };
    let sending = {
        let open = open.clone();
        thread::spawn(move || open.send_with(lists, options))
    };
    wait(|| stuck.inside.load(Ordering::Acquire));
    let pausing = {
        let adapter = adapter.clone();
        thread::spawn(move || adapter.pause())
    };
    wait(|| pausing.is_finished() || adapter.pause_pends());
    assert!(!pausing.is_finished(), "the pause did not wait");
    assert_eq!(adapter.state(), AdapterState::Pausing);
    stuck.hold.store(false, Ordering::Release);
    check(sending.join().unwrap());
    check(pausing.join().unwrap());
    assert_eq!(adapter.state(), AdapterState::Paused);
    drop(open);
    switch.finish();
}

/// The SAs go with a device that is gone, after the packets that have come for them: what the receive DPC
/// is at is opened.
#[test]
fn a_surprise_removal_waits_for_what_is_being_opened() {
    for version in NdisVersion::ALL {
        let wire = Wire::new(version, 3, &[(0, 1)]);
        let [a, b] = [wire.peer(0), wire.peer(1)];
        // The first is the sender's, the second the receive DPC's, which has taken the frame by then.
        let [entered, may_go] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (inside, go) = (entered.clone(), may_go.clone());
        wire.lab.machine().faults().fail_if(move |name, before| {
            if name == "KeSaveExtendedProcessorState" && before == 1 {
                inside.store(true, Ordering::Release);
                while !go.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            }
            false
        });
        let sending = {
            let (list, open) = (wire.list(&a, SEALED), a.port.open.clone());
            thread::spawn(move || open.send(vec![list]))
        };
        wait(|| entered.load(Ordering::Acquire));
        let removing = {
            let adapter = b.port.adapter.clone();
            thread::spawn(move || adapter.notify_surprise_removal())
        };
        let machine = wire.lab.machine();
        wait(|| removing.is_finished() || machine.waits_in("KeFlushQueuedDpcs"));
        may_go.store(true, Ordering::Release);
        check(removing.join().unwrap());
        check(sending.join().unwrap());
        machine.faults().clear();
        assert_eq!(wire.arrivals(&b), Arrivals::from([("verified", 1)]));
        check(b.port.adapter.halt());
        drop((a, b));
        wire.finish();
    }
}

/// A send that raced with the way down gets NDIS_STATUS_LOW_POWER_STATE (OID_PNP_SET_POWER).
#[test]
fn sends_in_low_power_say_so() {
    for version in [610, 620, 630] {
        let switch = Switch::new(version);
        let a = switch.port();
        check(a.adapter.set_power(PowerState::D3));
        let list = SendNbl::new(frame([0xff; 6], a.adapter.mac(), 64)).prepare(&switch.machine);
        let options = SendOptions {
            through: true,
            irql: Irql::PASSIVE,
            ..SendOptions::default()
        };
        check(a.open.send_with(vec![list], options));
        let sent = check(a.protocol.wait_sent(&switch.machine, 1, PATIENCE));
        assert_eq!(sent[0].status, NDIS_STATUS_LOW_POWER_STATE);
        check(a.adapter.set_power(PowerState::D0));
        a.send_frame(&frame([0xff; 6], a.adapter.mac(), 64));
        switch.finish();
    }
}

fn wait(until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < PATIENCE, "never");
        thread::yield_now();
    }
}
