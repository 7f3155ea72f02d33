//! NDISTest 6.5 - [2 Machine] - GlitchFreeDevice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Lan, Shape, USUAL, Way, numbered, roomy},
    oob::{LARGE_SEND, large_send},
    packets::{Packet, nets, tcp},
    switch::{Switch, SwitchPort, check},
};
use ndis_sim::{
    Irql, Machine,
    ndis::{OidRequest, Protocol, ReceivedNbl, SendNbl, SentNbl},
};
use ndis_sys::{NDIS_STATUS_SUCCESS, OID_GEN_CURRENT_PACKET_FILTER, OID_GEN_XMIT_OK};

/// Frames that a run of the receive DPC may indicate, and that a run of the send path may send.
const MOST_RECEIVED: usize = 64;
const MOST_SENT: usize = 128;
const FRAMES: usize = 2000;

/// The job.
pub fn job() -> Job {
    Job {
        name: "NDISTest 6.5 - [2 Machine] - GlitchFreeDevice",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "no call at DISPATCH_LEVEL takes so long that media would glitch: work per DPC is bounded, and nothing stalls",
        cases: vec![
            Case::new(
                "the receive DPC",
                "2000 frames that wait are indicated at most 64 at a time",
                receive,
            ),
            Case::new(
                "sends",
                "of 2000 lists in one call at most 128 are sent in the call, and in each run of the DPC",
                send,
            ),
            Case::new(
                "large sends",
                "of a large send of 2000 segments at most 128 go out in the call",
                |_| large(),
            ),
            Case::new(
                "stalls and waits",
                "traffic, resets and restarts need no time of a clock that stands still: nothing stalls, and nothing waits for a timer",
                |_| stalls(),
            ),
            Case::new(
                "the longest call",
                "under load no call at DISPATCH_LEVEL exceeds the simulator's budget; the longest is reported",
                longest,
            ),
        ],
    }
}

/// Notes how many lists come with each call, of those that were sent the ones that succeeded.
#[derive(Default)]
struct Counts {
    received: Mutex<Vec<usize>>,
    sent: Mutex<Vec<usize>>,
}

fn take(of: &Mutex<Vec<usize>>) -> Vec<usize> {
    std::mem::take(&mut *of.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Protocol for Counts {
    fn receive(&self, nbls: Vec<ReceivedNbl>, _flags: u32) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(nbls.len());
    }

    fn send_complete(&self, sent: Vec<SentNbl>, _flags: u32) {
        let sent = sent
            .iter()
            .filter(|list| list.status == NDIS_STATUS_SUCCESS);
        let mut counts = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        counts.push(sent.count());
    }
}

/// An adapter with a counter on top.
fn counting(switch: &Switch) -> (SwitchPort, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let adapter = check(switch.driver.add_adapter(roomy()));
    let open = check(adapter.open(Arc::clone(&counts) as Arc<_>));
    let filter = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, USUAL.to_le_bytes());
    assert_eq!(check(open.oid(filter)).status, NDIS_STATUS_SUCCESS);
    let port = SwitchPort {
        protocol: Default::default(),
        adapter,
        open,
    };
    (port, counts)
}

fn frames(from: &SwitchPort, to: &SwitchPort, count: usize) -> Vec<SendNbl> {
    let (to, from) = (to.adapter.mac(), from.adapter.mac());
    let frames = (0..count as u32).map(|n| SendNbl::new(numbered(to, from, n, 100)).compact());
    frames.collect()
}

/// One processor: what is started at DISPATCH_LEVEL runs to its end before a DPC does.
fn one_processor() -> Switch {
    Switch::on(Machine::builder().processors(1).build(), 630)
}

fn receive(figures: &mut Figures) {
    let switch = one_processor();
    let sender = switch.port();
    let (receiver, counts) = counting(&switch);
    let calls: Vec<_> = (0..FRAMES / 100)
        .map(|_| frames(&sender, &receiver, 100))
        .collect();
    let open = sender.open.clone();
    let sent = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        calls.into_iter().try_for_each(|lists| open.send(lists))
    });
    check(sent.unwrap_or_else(|check| panic!("{check}")));
    let settled = switch.machine.settle();
    settled.unwrap_or_else(|check| panic!("{check}"));
    let received = take(&counts.received);
    assert_eq!(received.iter().sum::<usize>(), FRAMES);
    let most = received.iter().max().copied();
    assert!(most <= Some(MOST_RECEIVED), "{most:?} in one indication");
    figures.note("indications", received.len());
    figures.note("most frames in one", most.unwrap_or(0));
    drop(sender.protocol.take_sent());
    drop((sender, receiver));
    switch.finish();
}

fn send(figures: &mut Figures) {
    let switch = one_processor();
    let (sender, counts) = counting(&switch);
    let receiver = switch.port_with(roomy());
    let lists = frames(&sender, &receiver, FRAMES);
    let (open, adapter) = (sender.open.clone(), sender.adapter.clone());
    let left = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        open.send(lists).map(|()| adapter.sends_outstanding())
    });
    let left = check(left.unwrap_or_else(|check| panic!("{check}")));
    assert_eq!(left, FRAMES - MOST_SENT, "in the call");
    let settled = switch.machine.settle();
    settled.unwrap_or_else(|check| panic!("{check}"));
    let sent = take(&counts.sent);
    assert_eq!(sent.iter().sum::<usize>(), FRAMES);
    let most = sent.iter().max().copied();
    assert!(most <= Some(MOST_SENT), "{most:?} in one run");
    figures.note("runs", sent.len());
    figures.note("most lists in one", most.unwrap_or(0));
    drop((sender, receiver));
    switch.finish();
}

fn large() {
    let switch = one_processor();
    let (sender, counts) = counting(&switch);
    let receiver = switch.port_with(roomy());
    let (to, from) = (receiver.adapter.mac(), sender.adapter.mac());
    let packet = Packet::new(nets()[0].clone(), tcp(0), FRAMES, to, from);
    let list = SendNbl::new(packet.large(2)).info(LARGE_SEND, large_send(&packet, 2, 1));
    let (open, adapter) = (sender.open.clone(), sender.adapter.clone());
    let left = switch.machine.run(Some(0), Irql::DISPATCH, move || {
        open.send(vec![list]).map(|()| adapter.sends_outstanding())
    });
    let left = check(left.unwrap_or_else(|check| panic!("{check}")));
    assert_eq!(left, 1, "all of it in the call");
    let settled = switch.machine.settle();
    settled.unwrap_or_else(|check| panic!("{check}"));
    assert_eq!(take(&counts.sent), [1]);
    assert_eq!(sender.counter(OID_GEN_XMIT_OK), FRAMES as u64);
    drop((sender, receiver));
    switch.finish();
}

fn stalls() {
    let machine = Machine::builder().processors(2).manual_clock(true).build();
    let lan = Lan::on(Switch::on(machine, 630), roomy(), roomy());
    let shape = Shape {
        lists: 300,
        packets: 2,
        mdls: 3,
        size: 1000,
    };
    for way in Way::BOTH {
        let (from, to) = lan.ends(way);
        let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), 0);
        lan.carry(way, batch, "on a clock that stands still");
        check(from.adapter.reset());
        check(from.adapter.pause());
        check(from.adapter.restart());
        lan.connected("after a reset and a restart");
    }
    assert_eq!(lan.switch.machine.clock().now(), Duration::ZERO);
    lan.finish();
}

fn longest(figures: &mut Figures) {
    // What the simulator and the protocols do within counts too, and the host is busy with other tests.
    // It is processor time, of which such a call takes a millisecond or two.
    const BUDGET: Duration = Duration::from_millis(100);
    let machine = Machine::builder().processors(2);
    let machine = machine.dispatch_limit(Some(BUDGET)).build();
    let jumbo = || roomy().keyword("*JumboPacket", "9014");
    let lan = Lan::on(Switch::on(machine, 630), jumbo(), jumbo());
    let shape = Shape {
        lists: 500,
        packets: 1,
        mdls: 4,
        size: 9014,
    };
    for way in Way::BOTH {
        let (from, to) = lan.ends(way);
        let batch = shape.batch(to.adapter.mac(), from.adapter.mac(), 0);
        lan.carry(way, batch, "jumbo frames");
    }
    let report = lan.switch.machine.report();
    let (time, what) = report.longest_at_dispatch.expect("it is measured");
    assert!(time < BUDGET);
    figures.note("longest", format!("{:.1} ms", time.as_secs_f64() * 1e3));
    figures.note("of", what);
    lan.finish();
}
