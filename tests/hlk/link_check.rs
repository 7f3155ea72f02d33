//! NDISTest 6.5 - [2 Machine] - LinkCheck. The cable is pulled where it is a cable to the other adapter (LinkState
//! set to 1): that one is halted, pulled out or put to sleep. Into a switch (LinkState 0) it is never said to be.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ipsecov2_tests::{
    hlk::{Case, Job},
    lan::{Lan, USUAL, numbered},
    switch::{Switch, SwitchPort, VERSIONS, check, config},
};
use ndis_sim::{
    Machine,
    ndis::{AdapterConfig, PowerState, SendNbl},
};
use ndis_sys::*;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - LinkCheck",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the state of the link is told right and in time, and frames go when there is a link and only then",
        cases: vec![
            Case::new(
                "connected at the start",
                "attributes, OID_GEN_LINK_STATE, OID_GEN_MEDIA_CONNECT_STATUS and the binding say connected, at the speed of the link",
                |_| at_the_start(),
            ),
            Case::new(
                "the initialization does not wait",
                "the adapter starts and carries frames on a clock that stands still: nothing waits for the link",
                |_| initialization(),
            ),
            Case::new(
                "stop and start of either side",
                "30 seconds without the other adapter and a start anew: no change is indicated, and frames go both ways again",
                |_| stop_and_start(),
            ),
            Case::new(
                "reset, pause and low power",
                "the link is what it was, and no change is indicated, least of all while the adapter sleeps",
                |_| no_indication(),
            ),
            Case::new(
                "cable pulled before the start",
                "an adapter that starts without a link says so, sends nothing, and has one as soon as the other adapter is there",
                |_| pulled_before_the_start(),
            ),
            Case::new(
                "cable pulled and put back",
                "each time the change is told once, within two seconds, and frames go both ways again",
                |_| pulled_and_put_back(),
            ),
            Case::new(
                "cable pulled while frames are sent",
                "each frame that was sent ends once, sent or for want of a link, none hangs",
                |_| pulled_under_load(),
            ),
            Case::new(
                "cable pulled in its sleep",
                "the change is told after waking, within two seconds, and not before",
                |_| pulled_asleep(),
            ),
            Case::new(
                "link parameters",
                "OID_GEN_LINK_PARAMETERS takes what the link is, and nothing that it cannot be",
                |_| parameters(),
            ),
        ],
    }
}

/// Everything that tells of the link says that it is up.
fn is_up(port: &SwitchPort) {
    let status = port.query(OID_GEN_MEDIA_CONNECT_STATUS, 4).u32();
    // NdisMediaStateConnected
    assert_eq!(status, Some(0));
    let told = port.adapter.link_state().expect("it is told");
    let bound = port.open.bind_parameters().link.expect("it is told").0;
    let general = port.adapter.general_attributes().expect("they are set");
    for link in [told, bound] {
        assert_eq!(link.MediaConnectState, MediaConnectStateConnected);
        assert_eq!(link.MediaDuplexState, MediaDuplexStateFull);
        assert_eq!(link.XmitLinkSpeed, general.MaxXmitLinkSpeed);
        assert_eq!(link.RcvLinkSpeed, general.MaxRcvLinkSpeed);
    }
    let speed = port.query(OID_GEN_LINK_SPEED, 4).u32();
    assert_eq!(speed.map(u64::from), Some(general.MaxXmitLinkSpeed / 100));
    assert_eq!(changes(port), 0, "a change of the link was indicated");
}

/// Indications that tell of a link.
fn changes(port: &SwitchPort) -> usize {
    let all = port.adapter.status_indications();
    let of_link = [
        NDIS_STATUS_LINK_STATE,
        NDIS_STATUS_MEDIA_CONNECT,
        NDIS_STATUS_MEDIA_DISCONNECT,
    ];
    all.iter().filter(|of| of_link.contains(&of.code)).count()
}

fn at_the_start() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        // Also when it is the only one.
        let alone = switch.port();
        is_up(&alone);
        let other = switch.port();
        is_up(&other);
        is_up(&alone);
        drop((alone, other));
        switch.finish();
    }
}

fn initialization() {
    let machine = Machine::builder().processors(2).manual_clock(true).build();
    let lan = Lan::on(Switch::on(machine, 630), config(), config());
    lan.connected("on a clock that stands still");
    check(lan.test.adapter.halt());
    check(lan.test.adapter.enable());
    lan.test.filter(USUAL);
    lan.connected("started again");
    assert_eq!(lan.switch.machine.clock().now(), Duration::ZERO);
    lan.finish();
}

fn stop_and_start() {
    for version in VERSIONS {
        let machine = Machine::builder().processors(2).manual_clock(true).build();
        let lan = Lan::on(Switch::on(machine, version), config(), config());
        for (gone, stays) in [(&lan.support, &lan.test), (&lan.test, &lan.support)] {
            check(gone.adapter.halt());
            lan.switch.machine.clock().advance(Duration::from_secs(31));
            is_up(stays);
            // It sends into a switch where nobody listens.
            stays.send_frame(&numbered([4; 6], [2; 6], 1, 80));
            check(gone.adapter.enable());
            gone.filter(USUAL);
            is_up(gone);
            lan.connected("started again");
        }
        lan.finish();
    }
}

fn no_indication() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let adapter = &lan.test.adapter;
        for _ in 0..3 {
            check(adapter.reset());
            is_up(&lan.test);
            check(adapter.pause());
            is_up(&lan.test);
            check(adapter.restart());
            check(adapter.set_power(PowerState::D3));
            assert_eq!(changes(&lan.test), 0);
            is_up(&lan.support);
            check(adapter.set_power(PowerState::D0));
            is_up(&lan.test);
            lan.connected("afterwards");
        }
        lan.finish();
    }
}

/// An adapter at a cable to the others.
fn at_a_cable() -> AdapterConfig {
    config().keyword("LinkState", "1")
}

/// Everything that tells of the link says that it is down, and it has changed so often.
fn is_down(port: &SwitchPort, told: usize) {
    // NdisMediaStateDisconnected
    let status = port.query(OID_GEN_MEDIA_CONNECT_STATUS, 4).u32();
    assert_eq!(status, Some(1));
    let link = port.adapter.link_state().expect("it is told");
    assert_eq!(link.MediaConnectState, MediaConnectStateDisconnected);
    assert_eq!(link.XmitLinkSpeed, NDIS_LINK_SPEED_UNKNOWN);
    assert_eq!(changes(port), told);
    let frame = numbered([0xff; 6], port.adapter.mac(), 1, 80);
    let sent = port.send(vec![SendNbl::new(frame)]);
    assert_eq!(sent, [NDIS_STATUS_MEDIA_DISCONNECTED]);
}

/// Waits until everything is told that is to be, which takes no time of the machine's clock, so less than two
/// seconds.
fn settle(lan: &Lan) {
    let machine = &lan.switch.machine;
    machine.settle().unwrap_or_else(|check| panic!("{check}"));
    assert_eq!(machine.clock().now(), Duration::ZERO);
}

fn cable(version: u32) -> Lan {
    let machine = Machine::builder().processors(2).manual_clock(true).build();
    let lan = Lan::on(Switch::on(machine, version), at_a_cable(), at_a_cable());
    settle(&lan);
    lan
}

fn pulled_before_the_start() {
    for version in VERSIONS {
        let lan = cable(version);
        check(lan.support.adapter.halt());
        check(lan.test.adapter.halt());
        check(lan.test.adapter.enable());
        lan.test.filter(USUAL);
        // Of its life before: there, and gone.
        is_down(&lan.test, 2);
        check(lan.support.adapter.enable());
        lan.support.filter(USUAL);
        settle(&lan);
        assert_eq!(changes(&lan.test), 3);
        lan.connected("the cable is in");
        lan.finish();
    }
}

fn pulled_and_put_back() {
    for version in VERSIONS {
        let lan = cable(version);
        let (test, support) = (&lan.test, &lan.support);
        assert_eq!(changes(test), 1);
        for round in 0..4 {
            if round % 2 == 0 {
                check(support.adapter.halt());
            } else {
                check(support.adapter.set_power(PowerState::D3));
            }
            settle(&lan);
            is_down(test, 2 * round + 2);
            if round % 2 == 0 {
                check(support.adapter.enable());
                support.filter(USUAL);
            } else {
                check(support.adapter.set_power(PowerState::D0));
            }
            settle(&lan);
            assert_eq!(changes(test), 2 * round + 3);
            lan.connected("the cable is back");
        }
        lan.finish();
    }
}

fn pulled_under_load() {
    for version in VERSIONS {
        let lan = cable(version);
        let (test, support) = (&lan.test, &lan.support);
        for _ in 0..5 {
            support.received();
            let stop = AtomicBool::new(false);
            let statuses = thread::scope(|scope| {
                let sender = scope.spawn(|| {
                    let mut all = Vec::new();
                    while !stop.load(Ordering::Acquire) {
                        let frame = numbered(support.adapter.mac(), test.adapter.mac(), 1, 500);
                        let lists = (0..200).map(|_| SendNbl::new(frame.clone()));
                        all.extend(test.send(lists.collect()));
                    }
                    all
                });
                thread::sleep(Duration::from_millis(2));
                check(support.adapter.surprise_remove());
                settle(&lan);
                stop.store(true, Ordering::Release);
                sender.join().expect("the sender ends")
            });
            let wanted = [NDIS_STATUS_SUCCESS, NDIS_STATUS_MEDIA_DISCONNECTED];
            assert!(statuses.iter().all(|status| wanted.contains(status)));
            is_down(test, changes(test));
            check(support.adapter.enable());
            support.filter(USUAL);
            settle(&lan);
        }
        support.received();
        lan.connected("after all that");
        lan.finish();
    }
}

fn pulled_asleep() {
    for version in VERSIONS {
        let lan = cable(version);
        check(lan.test.adapter.set_power(PowerState::D3));
        check(lan.support.adapter.halt());
        settle(&lan);
        assert_eq!(changes(&lan.test), 1);
        check(lan.test.adapter.set_power(PowerState::D0));
        settle(&lan);
        is_down(&lan.test, 2);
        check(lan.support.adapter.enable());
        lan.support.filter(USUAL);
        settle(&lan);
        lan.connected("awake, with the cable in");
        lan.finish();
    }
}

fn parameters() {
    for version in VERSIONS {
        let lan = Lan::start(version);
        let port = &lan.test;
        let general = port.adapter.general_attributes().expect("they are set");
        let speed = general.MaxXmitLinkSpeed;
        let set = |duplex: i32, transmit: u64, receive: u64, auto: u32| {
            let size = NDIS_SIZEOF_LINK_PARAMETERS_REVISION_1;
            let mut bytes = vec![0; size];
            bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 1, size as u8, 0]);
            bytes[4..8].copy_from_slice(&duplex.to_le_bytes());
            bytes[8..16].copy_from_slice(&transmit.to_le_bytes());
            bytes[16..24].copy_from_slice(&receive.to_le_bytes());
            bytes[24..28].copy_from_slice(&NdisPauseFunctionsUnsupported.to_le_bytes());
            bytes[28..32].copy_from_slice(&auto.to_le_bytes());
            port.set(OID_GEN_LINK_PARAMETERS, &bytes).status
        };
        let all = 0xf;
        for (duplex, transmit, receive, auto, status) in [
            (MediaDuplexStateFull, speed, speed, 0, NDIS_STATUS_SUCCESS),
            (MediaDuplexStateHalf, 0, 0, all, NDIS_STATUS_SUCCESS),
            (
                MediaDuplexStateHalf,
                speed,
                speed,
                0,
                NDIS_STATUS_NOT_SUPPORTED,
            ),
            (
                MediaDuplexStateFull,
                10_000_000,
                10_000_000,
                0,
                NDIS_STATUS_NOT_SUPPORTED,
            ),
            (MediaDuplexStateFull, speed, 0, 0, NDIS_STATUS_NOT_SUPPORTED),
            (
                MediaDuplexStateFull,
                u64::MAX,
                u64::MAX,
                0,
                NDIS_STATUS_NOT_SUPPORTED,
            ),
        ] {
            assert_eq!(set(duplex, transmit, receive, auto), status);
            is_up(port);
        }
        lan.connected("afterwards");
        lan.finish();
    }
}
