//! NDISTest 6.0 - [2 Machine] - 2c_Mini6Performance.

use std::sync::{Arc, atomic::Ordering};

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{Shape, USUAL, pump::Pump, roomy},
    switch::{Switch, SwitchPort, check},
};
use ndis_sys::{OID_GEN_RCV_NO_BUFFER, OID_GEN_RCV_OK, OID_GEN_XMIT_OK};

use crate::c1_mini6_perf_send::{SHAPES, calls, machine, name, tell};

/// The job.
pub fn job() -> Job {
    let mut cases = Vec::new();
    for shape in SHAPES {
        cases.push(Case::new(
            format!("send, {}", name(shape)),
            "a thread per processor keeps the send path busy; all lists come back, and each frame is received or counted as one without a buffer",
            move |figures| send(shape, figures),
        ));
        cases.push(Case::new(
            format!("receive, {}", name(shape)),
            "two support adapters send to the test adapter; each frame is received or counted as one without a buffer",
            move |figures| receive(shape, figures),
        ));
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_Mini6Performance",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the rates of sending and of receiving, by the sizes of calls, lists and packets",
        cases,
    }
}

/// An adapter with a pump on top.
struct End {
    port: SwitchPort,
    pump: Arc<Pump>,
}

impl End {
    fn start(switch: &Switch) -> Self {
        let pump = Pump::new();
        let adapter = check(switch.driver.add_adapter(roomy()));
        let open = check(adapter.open(Arc::clone(&pump) as Arc<_>));
        let port = SwitchPort {
            protocol: Default::default(),
            open,
            adapter,
        };
        port.filter(USUAL);
        Self { port, pump }
    }

    /// What was sent to it has come up, or there was no buffer for it.
    fn has_all(&self, sent: u64, figures: &mut Figures) {
        let machine = self.port.open.machine();
        machine.settle().unwrap_or_else(|check| panic!("{check}"));
        let received = self.pump.received.load(Ordering::Acquire);
        let lost = self.port.counter(OID_GEN_RCV_NO_BUFFER);
        assert_eq!(self.port.counter(OID_GEN_RCV_OK), received);
        assert_eq!(received + lost, sent, "frames are missing");
        assert!(received > 0);
        figures.note("without a buffer", lost);
    }
}

fn send(shape: Shape, figures: &mut Figures) {
    let switch = machine();
    let (test, support) = (End::start(&switch), End::start(&switch));
    let to = support.port.adapter.mac();
    let pumped = test.pump.run(&test.port.open, shape, to, calls(shape));
    tell(figures, pumped);
    assert_eq!(test.port.counter(OID_GEN_XMIT_OK), pumped.frames);
    support.has_all(pumped.frames, figures);
    drop((test, support));
    switch.finish();
}

fn receive(shape: Shape, figures: &mut Figures) {
    let switch = machine();
    let test = End::start(&switch);
    let to = test.port.adapter.mac();
    let supports = [End::start(&switch), End::start(&switch)];
    let sent: Vec<_> = std::thread::scope(|scope| {
        let senders = supports.each_ref().map(|support| {
            scope.spawn(move || {
                let calls = calls(shape) / 2;
                support.pump.run(&support.port.open, shape, to, calls)
            })
        });
        senders
            .map(|sender| sender.join().expect("a sender ends"))
            .into()
    });
    for pumped in &sent {
        tell(figures, *pumped);
    }
    test.has_all(sent.iter().map(|pumped| pumped.frames).sum(), figures);
    drop((test, supports));
    switch.finish();
}
