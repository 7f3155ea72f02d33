//! NDISTest 6.0 - [1 Machine] - 1c_FaultHandling.

use ipsecov2_tests::{
    driver,
    hlk::{Case, Figures, Job},
    inf,
    lan::Lan,
    switch::{Switch, config},
};
use ndis_sim::{
    LoadError, Machine,
    inf::{Inf, RegValue},
    ndis::{Error, Miniport, Package},
};
use ndis_sys::{NDIS_STATUS_FAILURE, NDIS_STATUS_RESOURCES};
use tcpip::lab::HARDWARE_ID;

/// The loops of the HLK: the bit of NdisDriverVerifyFlags, its call, and the imports by which a driver makes it.
/// No virtual adapter makes any of them.
const LOOPS: [(u32, &str, &[&str]); 9] = [
    (
        0x001,
        "NdisMAllocateMapRegisters",
        &["NdisMAllocateMapRegisters"],
    ),
    (
        0x002,
        "NdisMRegisterInterrupt",
        &["NdisMRegisterInterrupt", "NdisMRegisterInterruptEx"],
    ),
    (
        0x004,
        "NdisMAllocateSharedMemory",
        &[
            "NdisMAllocateSharedMemory",
            "NdisMAllocateSharedMemoryAsyncEx",
        ],
    ),
    (0x010, "NdisMMapIoSpace", &["NdisMMapIoSpace"]),
    (
        0x020,
        "NdisMRegisterIoPortRange",
        &["NdisMRegisterIoPortRange"],
    ),
    (
        0x040,
        "Read NdisGetSetBusConfigSpace",
        &["NdisMGetBusData", "NdisReadPciSlotInformation"],
    ),
    (
        0x080,
        "Write NdisGetSetBusConfigSpace",
        &["NdisMSetBusData", "NdisWritePciSlotInformation"],
    ),
    (
        0x100,
        "NdisMInitializeScatterGatherDma",
        &[
            "NdisMInitializeScatterGatherDma",
            "NdisMRegisterScatterGatherDma",
        ],
    ),
    // The HLK's table skips this bit.
    (0x008, "no call", &[]),
];

/// What becomes of a driver of which one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// DriverEntry fails.
    NotLoaded,
    /// MiniportInitializeEx fails.
    NotStarted,
    /// It goes without: what the call would have told has a default.
    Starts,
}

/// The calls that this driver makes instead while it loads and starts, and that may fail.
const CALLS: [(&str, Outcome); 12] = [
    ("WdfVersionBind", Outcome::NotLoaded),
    ("WdfDriverCreate", Outcome::NotLoaded),
    ("NdisMRegisterMiniportDriver", Outcome::NotLoaded),
    ("WdfDriverOpenParametersRegistryKey", Outcome::Starts),
    ("NdisOpenConfigurationEx", Outcome::NotStarted),
    ("NdisReadConfiguration", Outcome::Starts),
    ("NdisReadNetworkAddress", Outcome::Starts),
    ("WdfDeviceMiniportCreate", Outcome::NotStarted),
    ("ExAllocatePool2", Outcome::NotStarted),
    ("NdisAllocateNetBufferListPool", Outcome::NotStarted),
    ("NdisAllocateNetBufferAndNetBufferList", Outcome::NotStarted),
    ("NdisMSetMiniportAttributes", Outcome::NotStarted),
];

/// The job.
pub fn job() -> Job {
    let loops = LOOPS.into_iter().map(|(flag, call, imports)| {
        Case::new(
            format!("NdisDriverVerifyFlags 0x{flag:03x}, {call}"),
            "the driver does not make the call, and so loads, starts and works although it would fail",
            move |_| not_called(imports),
        )
    });
    let calls = CALLS.into_iter().map(|(call, outcome)| {
        Case::new(
            format!("{call} fails"),
            match outcome {
                Outcome::NotLoaded => {
                    "the driver does not load and leaves nothing; then it loads and works"
                }
                Outcome::NotStarted => {
                    "the adapter does not start and leaves nothing; then it starts and works"
                }
                Outcome::Starts => "the adapter starts with a default, and works",
            },
            move |figures| fails(call, outcome, figures),
        )
    });
    Job {
        name: "NDISTest 6.0 - [1 Machine] - 1c_FaultHandling",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "NDIS fails one kind of call per loop: the driver fails to load cleanly, and loads normally afterwards",
        cases: loops.chain(calls).collect(),
    }
}

fn not_called(imports: &'static [&str]) {
    let switch = Switch::new(630);
    let image = switch.driver.driver().image().expect("a PE image");
    for (dll, name) in image.imports() {
        assert!(
            !imports.contains(&name.as_str()),
            "{dll}!{name} is called after all"
        );
    }
    let faults = switch.machine.faults();
    faults.fail_if(move |name, _| imports.contains(&name));
    let lan = Lan::on(switch, config(), config());
    lan.connected("while the call would fail");
    assert_eq!(lan.switch.machine.faults().failures(), 0);
    lan.finish();
}

fn package() -> Package {
    let inf = Inf::load(&inf()).expect("the INF is sound");
    Package::new(inf, HARDWARE_ID).parameter("NdisVersion", RegValue::Dword(630))
}

fn fails(call: &'static str, outcome: Outcome, figures: &mut Figures) {
    let machine = Machine::builder().processors(2).build();
    if outcome == Outcome::NotLoaded {
        machine.faults().fail_next(call);
        match Miniport::load(&machine, &driver(), package()) {
            Err(Error::Load(LoadError::Entry { status, findings })) => {
                assert_eq!(findings, [], "left behind");
                assert!((status as i32) < 0, "{status:#x}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(machine.faults().failures(), 1, "{call} is not called");
        machine.faults().clear();
    }
    // Of the calls that are made in DriverEntry too the first fails there.
    let in_entry = call == "WdfDriverOpenParametersRegistryKey";
    if in_entry {
        machine.faults().fail_next(call);
    }
    let driver = Miniport::load(&machine, &driver(), package());
    let driver = driver.unwrap_or_else(|error| panic!("{error}"));
    if outcome != Outcome::NotLoaded && !in_entry {
        machine.faults().fail_next(call);
    }
    let first = driver.add_adapter(config());
    if outcome != Outcome::NotLoaded {
        assert_eq!(machine.faults().failures(), 1, "{call} is not called");
    }
    machine.faults().clear();
    match (outcome, first) {
        (Outcome::NotLoaded | Outcome::Starts, Ok(adapter)) => {
            adapter.halt().unwrap_or_else(|error| panic!("{error}"));
        }
        (Outcome::NotStarted, Err(Error::Status(status))) => {
            let documented = [NDIS_STATUS_RESOURCES, NDIS_STATUS_FAILURE];
            assert!(documented.contains(&status), "{status:#x}");
            figures.note("status", tcpip::lab::status_name(status));
        }
        (_, other) => panic!("{other:?}"),
    }
    let lan = Lan::on(Switch { machine, driver }, config(), config());
    lan.connected("once it does not fail any more");
    lan.finish();
}
