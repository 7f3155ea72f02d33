//! The link, when LinkState has it follow the other adapters: up while another one is there in full
//! power, told once each time that it changes ("Indicating Connection Status", NDIS_STATUS_LINK_STATE),
//! and no sends without it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ipsecov2_tests::switch::{PATIENCE, Switch, SwitchPort, VERSIONS, check, config, frame};
use ndis_sim::{
    Irql, Machine,
    ndis::{
        Adapter, AdapterConfig, Error, PowerState, Protocol, ReceivedNbl, SendNbl, SendOptions,
        SentNbl,
    },
};
use ndis_sys::*;

const UP: u32 = NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST;
const SPEED: u64 = 10_000_000_000;

/// An adapter whose link follows the others.
fn following() -> AdapterConfig {
    config().keyword("LinkState", "1")
}

/// What the adapter has told of its link since its start: connected or not.
fn told(port: &SwitchPort) -> Vec<bool> {
    let settled = port.open.machine().settle();
    settled.unwrap_or_else(|error| panic!("{error}"));
    let links = port.adapter.status_indications().into_iter();
    links
        .filter(|status| status.code == NDIS_STATUS_LINK_STATE)
        .map(|status| {
            assert_eq!(status.buffer.len(), NDIS_SIZEOF_LINK_STATE_REVISION_1);
            let word =
                |at: usize| i32::from_le_bytes(status.buffer[at..at + 4].try_into().unwrap());
            let speed = |at| u64::from_le_bytes(status.buffer[at..at + 8].try_into().unwrap());
            let up = word(4) == MediaConnectStateConnected;
            let expected = if up {
                (
                    MediaConnectStateConnected,
                    MediaDuplexStateFull,
                    SPEED,
                    SPEED,
                    NdisPauseFunctionsUnsupported,
                )
            } else {
                let unknown = NDIS_LINK_SPEED_UNKNOWN;
                (
                    MediaConnectStateDisconnected,
                    MediaDuplexStateUnknown,
                    unknown,
                    unknown,
                    NdisPauseFunctionsUnknown,
                )
            };
            assert_eq!((word(4), word(8), speed(16), speed(24), word(32)), expected);
            up
        })
        .collect()
}

/// Whether NDIS believes the link to be up, and the driver acts so.
fn is(port: &SwitchPort, up: bool) {
    let settled = port.open.machine().settle();
    settled.unwrap_or_else(|error| panic!("{error}"));
    // NdisMediaStateConnected, NdisMediaStateDisconnected
    let status = port.query(OID_GEN_MEDIA_CONNECT_STATUS, 4).u32();
    assert_eq!(status, Some(u32::from(!up)));
    let link = port.adapter.link_state().expect("it is told");
    let speed = if up { SPEED } else { NDIS_LINK_SPEED_UNKNOWN };
    assert_eq!((link.XmitLinkSpeed, link.RcvLinkSpeed), (speed, speed));
    let before = port.counter(OID_GEN_XMIT_OK);
    let sent = port.send(vec![SendNbl::new(frame([0xff; 6], port.adapter.mac(), 64))]);
    let (status, count) = if up {
        (NDIS_STATUS_SUCCESS, 1)
    } else {
        (NDIS_STATUS_MEDIA_DISCONNECTED, 0)
    };
    assert_eq!(sent, [status]);
    assert_eq!(port.counter(OID_GEN_XMIT_OK) - before, count);
    assert_eq!(port.counter(OID_GEN_XMIT_ERROR), 0);
}

/// Frames go both ways.
fn carries(a: &SwitchPort, b: &SwitchPort) {
    for (from, to) in [(a, b), (b, a)] {
        to.received();
        let bytes = frame(to.adapter.mac(), from.adapter.mac(), 100);
        from.send_frame(&bytes);
        assert_eq!(to.received_bytes(), [bytes]);
    }
}

fn port(switch: &Switch, config: AdapterConfig) -> SwitchPort {
    let port = switch.port_with(config);
    port.filter(UP);
    port
}

#[test]
fn an_adapter_alone_has_no_link_until_another_one_comes() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let a = port(&switch, following());
        let general = a.adapter.general_attributes().unwrap();
        assert_eq!(general.MediaConnectState, MediaConnectStateDisconnected);
        assert_eq!(general.MediaDuplexState, MediaDuplexStateUnknown);
        assert_eq!(general.XmitLinkSpeed, NDIS_LINK_SPEED_UNKNOWN);
        assert_eq!(general.MaxXmitLinkSpeed, SPEED);
        is(&a, false);
        assert!(told(&a).is_empty(), "the attributes have said it");

        let b = port(&switch, following());
        assert_eq!(
            b.adapter.general_attributes().unwrap().MediaConnectState,
            MediaConnectStateConnected
        );
        assert_eq!(told(&a), [true]);
        assert!(told(&b).is_empty(), "the attributes have said it");
        is(&a, true);
        is(&b, true);
        carries(&a, &b);
        drop((a, b));
        switch.finish();
    }
}

#[test]
fn a_link_is_always_up_by_default_and_when_the_keyword_is_absurd() {
    let switch = Switch::new(630);
    let absurd = ["0", "2", "3", "4294967295", "-1", "up", ""]
        .map(|value| config().keyword("LinkState", value));
    for config in [config(), config().without("LinkState")]
        .into_iter()
        .chain(absurd)
    {
        let alone = port(&switch, config);
        is(&alone, true);
        let other = port(&switch, self::config());
        check(other.adapter.halt());
        is(&alone, true);
        assert!(told(&alone).is_empty());
        check(alone.adapter.halt());
    }
    switch.finish();
}

/// The ways in which the other adapter goes, and comes back.
#[test]
fn the_link_goes_with_the_other_adapter_and_comes_with_it() {
    type Act = fn(&SwitchPort);
    let ways: [(&str, Act, Act); 2] = [
        (
            "halt",
            |port| check(port.adapter.halt()),
            |port| check(port.adapter.enable()),
        ),
        (
            "D3",
            |port| check(port.adapter.set_power(PowerState::D3)),
            |port| check(port.adapter.set_power(PowerState::D0)),
        ),
    ];
    for version in VERSIONS {
        for (name, go, come) in ways {
            for other in [following(), config()] {
                let switch = Switch::new(version);
                let (a, b) = (port(&switch, following()), port(&switch, other));
                let mut expected = vec![true];
                for _ in 0..3 {
                    carries(&a, &b);
                    go(&b);
                    expected.push(false);
                    assert_eq!(told(&a), expected, "{name}");
                    is(&a, false);
                    come(&b);
                    b.filter(UP);
                    expected.push(true);
                    assert_eq!(told(&a), expected, "{name}");
                    is(&a, true);
                }
                carries(&a, &b);
                drop((a, b));
                switch.finish();
            }
        }
    }
}

#[test]
fn the_link_goes_with_an_adapter_that_is_pulled_out_or_shut_down() {
    for version in VERSIONS {
        for shut_down in [false, true] {
            let switch = Switch::new(version);
            let (a, b) = (port(&switch, following()), port(&switch, following()));
            assert_eq!(told(&a), [true]);
            let gone = if shut_down {
                b.adapter.shutdown()
            } else {
                b.adapter.surprise_remove()
            };
            check(gone);
            assert_eq!(told(&a), [true, false]);
            is(&a, false);
            assert!(told(&b).is_empty(), "who is gone tells nothing");
            if !shut_down {
                let c = port(&switch, config());
                assert_eq!(told(&a), [true, false, true]);
                carries(&a, &c);
                drop(c);
            }
            drop((a, b));
            switch.finish();
        }
    }
}

#[test]
fn a_pause_or_a_reset_of_either_is_no_change() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let (a, b) = (port(&switch, following()), port(&switch, following()));
        for port in [&a, &b] {
            check(port.adapter.pause());
            assert_eq!(told(&a), [true]);
            check(port.adapter.restart());
            check(port.adapter.reset());
            assert_eq!(told(&a), [true]);
            carries(&a, &b);
        }
        assert!(told(&b).is_empty());
        drop((a, b));
        switch.finish();
    }
}

#[test]
fn a_paused_or_reset_adapter_without_a_link_refuses_sends_for_that_reason() {
    let switch = Switch::new(630);
    let a = port(&switch, following());
    is(&a, false);
    check(a.adapter.pause());
    check(a.adapter.restart());
    is(&a, false);
    check(a.adapter.reset());
    is(&a, false);
    // The link comes while it is paused.
    check(a.adapter.pause());
    let b = port(&switch, config());
    assert_eq!(told(&a), [true]);
    check(a.adapter.restart());
    is(&a, true);
    carries(&a, &b);
    drop((a, b));
    switch.finish();
}

/// "A miniport driver must not indicate any media connection status changes when it enters a sleep state
/// or while it is in a sleeping state"; "if the connection status changed, the miniport driver should
/// indicate the new connection status within two seconds after waking". The simulator's rule is on watch.
#[test]
fn a_sleeping_adapter_tells_of_a_change_when_it_wakes() {
    for version in VERSIONS {
        let machine = Machine::builder().processors(2).manual_clock(true).build();
        let switch = Switch::on(machine, version);
        let (a, b) = (port(&switch, following()), port(&switch, config()));
        assert_eq!(told(&a), [true]);
        let sleep = || check(a.adapter.set_power(PowerState::D3));
        let wake = || check(a.adapter.set_power(PowerState::D0));

        // Nothing has changed.
        sleep();
        wake();
        assert_eq!(told(&a), [true]);
        // Gone and back again is no change either.
        sleep();
        check(b.adapter.halt());
        check(b.adapter.enable());
        wake();
        assert_eq!(told(&a), [true]);
        // Gone.
        sleep();
        check(b.adapter.halt());
        assert_eq!(told(&a), [true]);
        wake();
        assert_eq!(told(&a), [true, false]);
        is(&a, false);
        // Back.
        sleep();
        check(b.adapter.enable());
        b.filter(UP);
        assert_eq!(told(&a), [true, false]);
        wake();
        assert_eq!(told(&a), [true, false, true]);
        carries(&a, &b);
        drop((a, b));
        switch.finish();
    }
}

#[test]
fn a_third_adapter_keeps_the_link_up() {
    let switch = Switch::new(620);
    let [a, b, c] = [(); 3].map(|()| port(&switch, following()));
    check(b.adapter.halt());
    assert_eq!(told(&a), [true]);
    carries(&a, &c);
    check(c.adapter.surprise_remove());
    assert_eq!(told(&a), [true, false]);
    drop((a, b, c));
    switch.finish();
}

/// An adapter that cannot start was never there.
#[test]
fn an_adapter_that_fails_to_start_gives_no_link() {
    let switch = Switch::new(630);
    let a = port(&switch, following());
    for call in ["NdisMSetMiniportAttributes", "NdisAllocateIoWorkItem"] {
        switch.machine.faults().fail_if(move |name, _| name == call);
        assert!(switch.driver.add_adapter(following()).is_err(), "{call}");
        switch.machine.faults().clear();
        assert!(told(&a).is_empty());
        is(&a, false);
    }
    drop(a);
    switch.finish();
}

/// What was received before the link went comes up all the same.
#[test]
fn frames_that_are_there_already_are_not_lost_with_the_link() {
    for _ in 0..20 {
        let switch = Switch::new(630);
        let (a, b) = (port(&switch, following()), port(&switch, following()));
        assert_eq!(told(&a), [true]);
        let bytes = frame(a.adapter.mac(), b.adapter.mac(), 100);
        let lists = (0..200).map(|_| SendNbl::new(bytes.clone())).collect();
        let statuses = b.send(lists);
        check(b.adapter.surprise_remove());
        let sent = statuses
            .iter()
            .filter(|status| **status == NDIS_STATUS_SUCCESS);
        assert_eq!(a.received().len(), sent.count());
        drop((a, b));
        switch.finish();
    }
}

/// Sends that wait in the queue end when the link goes: each list once, and those that failed for that
/// are told apart.
#[test]
fn sends_under_way_end_with_the_link() {
    let switch = Switch::on(Machine::builder().processors(3).build(), 630);
    let (a, b) = (port(&switch, following()), port(&switch, config()));
    let mut refused = 0;
    for _ in 0..30 {
        is(&a, true);
        let stop = AtomicBool::new(false);
        let statuses = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut all = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let bytes = frame(b.adapter.mac(), a.adapter.mac(), 1000);
                    all.extend(a.send((0..300).map(|_| SendNbl::new(bytes.clone())).collect()));
                }
                all
            });
            thread::sleep(Duration::from_millis(2));
            check(b.adapter.set_power(PowerState::D3));
            switch
                .machine
                .settle()
                .unwrap_or_else(|error| panic!("{error}"));
            stop.store(true, Ordering::Release);
            sender.join().expect("the sender ends well")
        });
        for status in statuses {
            assert!(
                [NDIS_STATUS_SUCCESS, NDIS_STATUS_MEDIA_DISCONNECTED].contains(&status),
                "{status:#x}"
            );
            refused += u32::from(status == NDIS_STATUS_MEDIA_DISCONNECTED);
        }
        is(&a, false);
        check(b.adapter.set_power(PowerState::D0));
    }
    assert_ne!(refused, 0, "no send met the end of the link");
    drop((a, b));
    switch.finish();
}

/// A transport that takes its time with each kind of completion.
#[derive(Default)]
struct Slow {
    /// Lists that it takes at once.
    at_once: AtomicUsize,
    /// It holds those that were sent, those that were not.
    holds: [AtomicBool; 2],
    inside: [AtomicBool; 2],
}

impl Protocol for Slow {
    fn receive(&self, _: Vec<ReceivedNbl>, _: u32) {}

    fn send_complete(&self, lists: Vec<SentNbl>, _: u32) {
        let less = |left: usize| left.checked_sub(lists.len());
        let taken = self
            .at_once
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if taken.is_ok() {
            return;
        }
        let kind = usize::from(lists[0].status != NDIS_STATUS_SUCCESS);
        self.inside[kind].store(true, Ordering::Release);
        while self.holds[kind].load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }
}

fn wait(until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < PATIENCE, "never");
        thread::yield_now();
    }
}

/// What is taken out of the queue for the want of a link is still the driver's until it is completed: a
/// pause, a reset and a low-power state wait for it, although the queue is empty and nothing is being sent.
#[test]
fn sends_that_end_with_the_link_are_waited_for() {
    type Act = fn(&Adapter) -> Result<(), Error>;
    type Pends = fn(&Adapter) -> bool;
    let ways: [(&str, Act, Pends); 2] = [
        ("pause", Adapter::pause, Adapter::pause_pends),
        ("reset", Adapter::reset, Adapter::reset_pends),
    ];
    for (name, act, pends) in ways {
        // What a call sends itself, what a DPC does, and some more.
        let (call, rest) = (128, 128 + 50);
        let switch = Switch::on(Machine::builder().processors(4).build(), 630);
        let b = port(&switch, config());
        let adapter = check(switch.driver.add_adapter(following()));
        let slow = Arc::new(Slow::default());
        let open = check(adapter.open(slow.clone()));
        slow.at_once.store(call, Ordering::Release);
        slow.holds[0].store(true, Ordering::Release);
        slow.holds[1].store(true, Ordering::Release);
        let list = |_| SendNbl::new(frame([0xff; 6], adapter.mac(), 64)).prepare(&switch.machine);
        let lists = (0..call + rest).map(list).collect();
        // At DISPATCH_LEVEL, so that the DPC comes after the call.
        let options = SendOptions {
            cpu: Some(0),
            irql: Irql::DISPATCH,
            ..SendOptions::default()
        };
        let inside = |kind: usize| slow.inside[kind].load(Ordering::Acquire);
        thread::scope(|scope| {
            let sending = scope.spawn(|| check(open.send_with(lists, options)));
            wait(|| inside(0));
            // Every other way to go waits for the DPCs of the machine.
            check(b.adapter.shutdown());
            wait(|| inside(1));
            let acting = scope.spawn(|| check(act(&adapter)));
            wait(|| acting.is_finished() || pends(&adapter));
            slow.holds[0].store(false, Ordering::Release);
            sending.join().expect("it is sent");
            // Long enough for one that does not wait to be over.
            thread::sleep(Duration::from_millis(30));
            assert!(
                pends(&adapter) && !acting.is_finished(),
                "the {name} did not wait"
            );
            slow.holds[1].store(false, Ordering::Release);
            acting.join().expect("it is done");
        });
        assert_eq!(adapter.sends_outstanding(), 0);
        drop((b, open, adapter));
        switch.finish();
    }
}

/// Two that come and go at random, on processors of their own; a third one's link is always what it last
/// told, told changes alternate, and it ends as it should.
#[test]
fn what_was_told_last_is_true_however_fast_the_others_come_and_go() {
    let switch = Switch::on(Machine::builder().processors(4).perturb(7).build(), 630);
    let a = port(&switch, following());
    let others = [port(&switch, config()), port(&switch, following())];
    thread::scope(|scope| {
        for (seed, other) in others.iter().enumerate() {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed as u64);
                for _ in 0..60 {
                    let (go, come): (PowerState, PowerState) = (PowerState::D3, PowerState::D0);
                    if random.bool() {
                        check(other.adapter.set_power(go));
                        check(other.adapter.set_power(come));
                    } else {
                        check(other.adapter.halt());
                        check(other.adapter.enable());
                    }
                }
            });
        }
    });
    for (gone, other) in others.iter().enumerate() {
        check(other.adapter.halt());
        let told = told(&a);
        // It began without a link.
        assert!(told[0]);
        assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
        assert_eq!(told.last(), Some(&(gone == 0)), "{told:?}");
    }
    is(&a, false);
    drop((a, others));
    switch.finish();
}
