//! NDISTest 6.0 - [1 Machine] - 1c_Mini6PerfSend.

use std::sync::Arc;

use ipsecov2_tests::{
    hlk::{Case, Figures, Job},
    lan::{
        LONGEST, Shape,
        pump::{Pump, Pumped},
    },
    switch::{Switch, SwitchPort, check, config},
};
use ndis_sim::{Machine, ndis::Open};
use ndis_sys::OID_GEN_XMIT_OK;

/// Frames of each case, on all processors together.
pub const FRAMES: usize = 20_000;
/// Processors of the machine.
pub const PROCESSORS: usize = 2;

/// How many lists in a call, packets in a list, MDLs in a packet, and bytes.
pub const SHAPES: [Shape; 6] = [
    shape(1, 1, 1, 60),
    shape(32, 1, 1, 60),
    shape(1, 1, 1, LONGEST),
    shape(32, 1, 2, LONGEST),
    shape(8, 8, 1, 590),
    shape(64, 2, 3, 1000),
];

const fn shape(lists: usize, packets: usize, mdls: usize, size: usize) -> Shape {
    Shape {
        lists,
        packets,
        mdls,
        size,
    }
}

/// What a variation is called.
pub fn name(shape: Shape) -> String {
    let Shape {
        lists,
        packets,
        mdls,
        size,
    } = shape;
    format!("{size} bytes, MDLs: {mdls}, NET_BUFFERs: {packets}, lists: {lists}")
}

/// Calls for a variation to come to [`FRAMES`].
pub fn calls(shape: Shape) -> usize {
    FRAMES / PROCESSORS / shape.frames()
}

/// A machine without what would slow down the driver's own code.
pub fn machine() -> Switch {
    let machine = Machine::builder().processors(PROCESSORS);
    let switch = Switch::on(
        machine
            .canaries(false)
            .history(false)
            .special_pool(false)
            .build(),
        630,
    );
    switch.machine.ndis().watch_data(false);
    switch
}

/// Enters what was measured.
pub fn tell(figures: &mut Figures, pumped: Pumped) {
    figures.note("frames", pumped.frames);
    figures.note("frames/s", format!("{:.0}", pumped.rate()));
    figures.note("Gbit/s", format!("{:.3}", pumped.gigabits()));
}

/// The job.
pub fn job() -> Job {
    let cases = SHAPES.map(|shape| {
        Case::new(
            name(shape),
            "a thread per processor sends as fast as its lists come back; all of them do, and the rate is reported",
            move |figures| send(shape, figures),
        )
    });
    Job {
        name: "NDISTest 6.0 - [1 Machine] - 1c_Mini6PerfSend",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the rate of sends when every processor keeps the adapter busy, by the sizes of calls, lists and packets",
        cases: cases.into(),
    }
}

fn send(shape: Shape, figures: &mut Figures) {
    let switch = machine();
    let pump = Pump::new();
    let adapter = check(switch.driver.add_adapter(config()));
    let open: Open = check(adapter.open(Arc::clone(&pump) as Arc<_>));
    let pumped = pump.run(&open, shape, [0x02, 1, 2, 3, 4, 5], calls(shape));
    tell(figures, pumped);
    let port = SwitchPort {
        protocol: Default::default(),
        open,
        adapter,
    };
    assert_eq!(port.counter(OID_GEN_XMIT_OK), pumped.frames);
    drop(port);
    switch.finish();
}
