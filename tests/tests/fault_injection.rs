//! Every place where something can fail is made to fail once: every allocation and every other call that
//! may fail by its documentation, keyed by the driver's call stack, from DriverEntry to unload. A fault
//! shows only in what was being done, with a documented status, and that goes well when it is done again;
//! nothing leaks, hangs or breaks a rule, and everything afterwards works.
//!
//! With `IPSECOV2_FAULTS` set the places are listed with their call stacks.

use std::{collections::BTreeSet, env, sync::Arc, time::Duration};

use ipsecov2_tests::{
    driver,
    flow::{Came, Flow, Flows},
    inf,
    kinds::Kind,
    lab_options, tell,
};
use ndis_sim::{
    Irql, LoadError, Machine,
    inf::Inf,
    inject::{Place, Places},
    ndis::{AdapterConfig, Error, Miniport, OidRequest, Package, PowerState},
};
use ndis_sys::*;
use tcpip::{
    algorithm::Encryption,
    lab::{HARDWARE_ID, Lab, NdisVersion, PATIENCE, Port, status_name},
    offload::{self, Handle, Way},
    plan::Shape,
    recorder::Recorder,
    split::Split,
};

/// Imports of the driver that may fail though the driver makes no mistake, by their documentation.
const MAY_FAIL: [&str; 12] = [
    "ExAllocatePool2",
    "KeSaveExtendedProcessorState",
    "MmMapLockedPagesSpecifyCache",
    "NdisAllocateMdl",
    "NdisAllocateNetBufferAndNetBufferList",
    "NdisAllocateNetBufferListPool",
    "NdisMRegisterMiniportDriver",
    "NdisMSetMiniportAttributes",
    "NdisOpenConfigurationEx",
    "NdisReadConfiguration",
    "NdisReadNetworkAddress",
    "WdfVersionBind",
];

/// Functions of the framework's table that the driver uses and that may fail.
const FRAMEWORK_MAY_FAIL: [&str; 4] = [
    "WdfDeviceMiniportCreate",
    "WdfDriverCreate",
    "WdfDriverOpenParametersRegistryKey",
    "WdfRegistryQueryULong",
];

/// Imports of the driver that return nothing that could say so, or fail for a mistake only.
const CANNOT_FAIL: [&str; 38] = [
    "DbgPrint",
    "ExAcquireSpinLockExclusiveAtDpcLevel",
    "ExAcquireSpinLockSharedAtDpcLevel",
    "ExFreePool",
    "ExReleaseSpinLockExclusiveFromDpcLevel",
    "ExReleaseSpinLockSharedFromDpcLevel",
    "KeAcquireSpinLockAtDpcLevel",
    "KeBugCheckEx",
    "KeClearEvent",
    "KeFlushQueuedDpcs",
    "KeGetCurrentProcessorNumberEx",
    "KeInitializeDpc",
    "KeInitializeEvent",
    // FALSE says that the DPC is queued already.
    "KeInsertQueueDpc",
    "KeLowerIrql",
    "KeQueryMaximumProcessorCountEx",
    "KeReleaseSpinLockFromDpcLevel",
    "KeRemoveQueueDpc",
    "KeRestoreExtendedProcessorState",
    "KeSetEvent",
    // Without a time-out, not alertable and in kernel mode it ends with STATUS_SUCCESS only.
    "KeWaitForSingleObject",
    "KfRaiseIrql",
    "NdisCloseConfiguration",
    "NdisFreeMdl",
    "NdisFreeNetBufferList",
    "NdisFreeNetBufferListPool",
    "NdisMDeregisterMiniportDriver",
    "NdisMGetDeviceProperty",
    "NdisMIndicateReceiveNetBufferLists",
    "NdisMIndicateStatusEx",
    "NdisMPauseComplete",
    "NdisMResetComplete",
    "NdisMSendNetBufferListsComplete",
    "NdisWriteErrorLogEntry",
    "RtlGetEnabledExtendedFeatures",
    "WdfVersionUnbind",
    // Of the compiler: memcmp, memcpy, memmove, memset, __chkstk.
    "mem*",
    "__chkstk",
];

/// OIDs that are not queried.
const SET_ONLY: [u32; 4] = [
    OID_PNP_SET_POWER,
    OID_OFFLOAD_ENCAPSULATION,
    OID_TCP_OFFLOAD_PARAMETERS,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
];

/// What DriverEntry and MiniportInitializeEx may say (their pages); the framework's and NDIS' own
/// statuses for lack of memory are the same number.
const START: [i32; 2] = [NDIS_STATUS_RESOURCES, NDIS_STATUS_FAILURE];
/// OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA and its successor.
const ADD_SA: [i32; 1] = [NDIS_STATUS_RESOURCES];

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// One run from DriverEntry to unload.
struct Run {
    machine: Arc<Machine>,
}

impl Run {
    fn found(&self) -> Option<Place> {
        self.machine.faults().found()
    }

    /// What fails now, if it is this that failed.
    fn failed_since(&self, before: bool) -> Option<Place> {
        self.machine
            .settle()
            .unwrap_or_else(|check| panic!("after {:?}: {check}", self.found()));
        self.found().filter(|_| !before)
    }

    /// Does something that may fail with one of these statuses when the fault falls into it, and goes
    /// well when it is done again.
    fn step<T>(
        &self,
        what: &str,
        statuses: &[i32],
        mut attempt: impl FnMut() -> Result<T, i32>,
    ) -> T {
        let before = self.found().is_some();
        let result = attempt();
        let place = self.failed_since(before);
        match (result, place) {
            (Ok(value), _) => value,
            (Err(status), None) => panic!("{what}: {} for no reason", status_name(status)),
            (Err(status), Some(place)) => {
                let name = status_name(status);
                assert!(statuses.contains(&status), "{what}: {name} after {place}");
                attempt().unwrap_or_else(|status| {
                    panic!("{what} again: {} after {place}", status_name(status))
                })
            }
        }
    }

    /// Something in which nothing can fail.
    fn sure(&self, what: &str, result: Result<(), Error>) {
        let before = self.found().is_some();
        result.unwrap_or_else(|error| panic!("{what} after {:?}: {error}", self.found()));
        assert_eq!(self.failed_since(before), None, "something fails in {what}");
    }
}

/// The status in an error; anything else ends the test.
fn status_of(run: &Run, error: &anyhow::Error) -> i32 {
    match error.downcast_ref::<Error>() {
        Some(Error::Status(status)) => *status,
        Some(Error::Load(LoadError::Entry { status, findings })) => {
            assert_eq!(*findings, [], "left behind after {:?}", run.found());
            *status as i32
        }
        _ => panic!("after {:?}: {error:#}", run.found()),
    }
}

/// An adapter and what is bound to it.
struct Side {
    port: Port,
    recorder: Arc<Recorder>,
}

fn start_adapter(run: &Run, lab: &Lab, mac: [u8; 6]) -> Side {
    let recorder = Recorder::on(&run.machine);
    let config = AdapterConfig::new(HARDWARE_ID)
        .mac(mac)
        .keyword("*ReceiveBuffers", "900")
        .keyword("*JumboPacket", "1600")
        .keyword("LegacyAlgorithms", "1");
    let port = run.step("MiniportInitializeEx", &START, || {
        lab.port_with(config.clone(), recorder.clone())
            .map_err(|error| status_of(run, &error))
    });
    Side { port, recorder }
}

/// Flows of every kind, one of extended sequence numbers that wrap.
fn flows() -> Flows {
    let extended = extended();
    let flow = |(kind, id): (Kind, u32)| {
        let flow = kind.flow(id, A, B, id.is_multiple_of(2), 1200);
        if id as usize == extended {
            flow.extended((7 << 32) - 9)
        } else {
            flow
        }
    };
    Flows(Kind::all().into_iter().zip(0..).map(flow).collect())
}

/// The place of a kind among the flows.
fn place_of(kind: Kind) -> usize {
    let place = Kind::all().into_iter().position(|other| other == kind);
    place.expect("one of each kind")
}

/// The flow with extended sequence numbers. It needs no keyword, so its SA is always there.
fn extended() -> usize {
    place_of(Kind::Sealed(Shape::default(), Encryption::AesGcm256.into()))
}

/// Adds the SAs of each flow. Those that need a keyword which could not be read are not added.
fn add_sas(run: &Run, port: &Port, flows: &Flows, way: Way) -> Vec<Option<Vec<Handle>>> {
    let add = |flow: &Flow, kind: Kind| {
        let mut handles = Vec::new();
        for sa in flow.sas() {
            let added = run.step("ADD_SA", &ADD_SA, || {
                let added = port.add_sas(&[sa], way).unwrap().swap_remove(0);
                let unread = || run.found().is_some_and(|place| place.export == READ);
                match added.map_err(|refused| refused.status) {
                    Ok(handle) => Ok(Some(handle)),
                    Err(NDIS_STATUS_NOT_SUPPORTED) if kind.is_legacy() && unread() => Ok(None),
                    Err(status) => Err(status),
                }
            });
            handles.push(added?);
        }
        Some(handles)
    };
    let kinds = Kind::all();
    flows
        .0
        .iter()
        .zip(kinds)
        .map(|(flow, kind)| add(flow, kind))
        .collect()
}

const READ: &str = "NdisReadConfiguration";

/// The packets that have been sent of each flow.
struct Traffic<'a> {
    flows: &'a Flows,
    /// None where there is no SA at one of the ends.
    handles: Vec<Option<Vec<Handle>>>,
    next: Vec<u64>,
}

impl Traffic<'_> {
    /// Sends packets of every flow, `clear` of one. With a fault among them each is completed with a
    /// documented status and comes up if that is success, decrypted or as it was sent; without one, or
    /// once more, all come up as they should.
    fn flow(&mut self, run: &Run, a: &Side, b: &Side, clear: u64) {
        let before = run.found().is_some();
        let problem = self.attempt(run, a, b, clear);
        let place = run.failed_since(before);
        match (problem, place) {
            (None, _) => {}
            (Some(problem), None) => panic!("{problem}, for no reason"),
            (Some(_), Some(place)) => {
                if let Some(problem) = self.attempt(run, a, b, clear) {
                    panic!("{problem}, once more after {place}");
                }
            }
        }
    }

    /// Sends them once, and returns what is not as it is when nothing fails, and may be when something
    /// does. What may never be ends the test.
    fn attempt(&mut self, run: &Run, a: &Side, b: &Side, clear: u64) -> Option<String> {
        let mut packets = Vec::new();
        let mut lists = Vec::new();
        let without_sa = place_of(Kind::Clear);
        for (flow, next) in self.next.iter_mut().enumerate() {
            let Some(handles) = &self.handles[flow] else {
                continue;
            };
            for _ in 0..if flow == without_sa { clear } else { 2 } {
                let (number, cookie) = (*next, packets.len() as u64);
                *next += self.flows.0[flow].per_list();
                let mapped = packets.len().is_multiple_of(2);
                let split = Split::Random(number);
                lists.push(self.flows.0[flow].nbl(number, handles, split, mapped, cookie));
                packets.push((flow, number));
            }
        }
        a.port.send(lists).unwrap();
        let completed = a.recorder.take_completed(packets.len(), PATIENCE);
        run.failed_since(true);
        let received = b.recorder.take_received(usize::MAX, Duration::ZERO);

        let mut problem = None;
        let mut statuses = vec![None; packets.len()];
        for done in completed {
            let status = statuses[done.cookie as usize].replace(done.status);
            assert_eq!(status, None, "completed twice");
        }
        let mut received = received.iter().peekable();
        for (&(flow, first), status) in packets.iter().zip(statuses) {
            let count = self.flows.0[flow].per_list();
            let status = status.expect("every send is completed");
            let about = format!("packet {first} of flow {flow} after {:?}", run.found());
            let mut came = 0;
            // In order; of a large packet that failed, the segments before that.
            while came < count
                && received.peek().is_some_and(|seen| {
                    self.flows
                        .identify(&seen.frame)
                        .is_ok_and(|is| is == (flow, first + came))
                })
            {
                let seen = received.next().expect("it was there");
                let (.., how) = self
                    .flows
                    .judge(seen)
                    .unwrap_or_else(|error| panic!("{error:#}, {about}"));
                match how {
                    Came::Clear | Came::Verified => {}
                    Came::Untouched => problem = Some(format!("{about} came up sealed")),
                    how => panic!("{about}: {how:?}"),
                }
                came += 1;
            }
            match status {
                NDIS_STATUS_SUCCESS => assert_eq!(came, count, "{about}"),
                NDIS_STATUS_RESOURCES => {
                    assert!(came < count, "{about}");
                    problem = Some(format!("{about} is out of resources"));
                }
                other => panic!("{about}: {}", status_name(other)),
            }
        }
        assert_eq!(
            received.next(),
            None,
            "more came up than was sent, or out of order"
        );
        problem
    }
}

/// Every OID that the adapter lists and that can be queried.
fn query_everything(run: &Run, port: &Port) {
    let mut oids = port.adapter.supported_oids();
    oids.retain(|oid| !SET_ONLY.contains(oid));
    for oid in oids {
        let result = port.open.oid(OidRequest::query(oid, 1024));
        run.sure("a query", result.map(drop));
    }
}

/// Loads the driver, does everything with it, unloads it. Returns what failed.
fn everything(places: &Arc<Places>, time: u64, version: NdisVersion) -> Option<Place> {
    let machine = Machine::builder().processors(2).build();
    machine.faults().fail_new_place(places, time);
    let run = Run { machine };
    let run = &run;
    let lab = run.step("DriverEntry", &START, || {
        Lab::on(run.machine.clone(), &lab_options(version)).map_err(|error| status_of(run, &error))
    });
    // A version that could not be read is the default: the requests follow what was registered.
    let [a, b] = [A, B].map(|mac| start_adapter(run, &lab, mac));
    for side in [&a, &b] {
        let filter = side.port.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS);
        filter.unwrap_or_else(|error| panic!("{error:#} after {:?}", run.found()));
        side.port.activate_offload().unwrap();
        query_everything(run, &side.port);
    }
    let flows = flows();
    let outbound = add_sas(run, &a.port, &flows, Way::Outbound);
    let inbound = add_sas(run, &b.port, &flows, Way::Inbound);
    let both = outbound.iter().zip(&inbound);
    let mut traffic = Traffic {
        flows: &flows,
        handles: both
            .map(|(out, within)| out.clone().filter(|_| within.is_some()))
            .collect(),
        next: vec![0; flows.0.len()],
    };
    traffic.flow(run, &a, &b, 3);
    // More than a call sends itself: the rest goes through the queue.
    traffic.flow(run, &a, &b, 200);
    for (port, handles) in [(&a.port, &outbound), (&b.port, &inbound)] {
        let handle = handles[extended()].as_ref().unwrap()[0];
        let esp = flows.0[extended()].sas()[0].esp.as_ref().unwrap();
        let update = offload::update_sa(handle, IPsecOffloadV2Esp, esp.spi.0, 7);
        let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
        let result = port.open.direct_oid(request, Irql::DISPATCH).unwrap();
        assert_eq!(result.status, NDIS_STATUS_SUCCESS);
    }
    for side in [&a, &b] {
        let adapter = &side.port.adapter;
        run.sure("MiniportPause", adapter.pause());
        run.sure("MiniportRestart", adapter.restart());
        traffic.flow(run, &a, &b, 1);
        run.sure("MiniportResetEx", adapter.reset());
        traffic.flow(run, &a, &b, 1);
        run.sure("OID_PNP_SET_POWER", adapter.set_power(PowerState::D3));
        run.sure("OID_PNP_SET_POWER", adapter.set_power(PowerState::D0));
        traffic.flow(run, &a, &b, 1);
    }
    for (port, handles) in [(&a.port, outbound), (&b.port, inbound)] {
        let handles: Vec<_> = handles.into_iter().take(9).flatten().flatten().collect();
        port.delete_sas(&handles).unwrap();
    }
    // The others are left for removal and halt to delete.
    let third = start_adapter(run, &lab, [2, 0, 0, 0, 0, 0xc]);
    add_sas(run, &third.port, &flows, Way::Inbound);
    run.sure("the removal", third.port.adapter.surprise_remove());
    run.sure("MiniportHaltEx", b.port.adapter.halt());
    let found = run.found();
    drop((a, b, third));
    lab.finish()
        .unwrap_or_else(|error| panic!("after {found:?}: {error:#}"));
    assert_eq!(run.found(), found, "something fails in the unload");
    found
}

fn search(places: &Arc<Places>, time: u64, version: NdisVersion) -> usize {
    let mut count = 0;
    while everything(places, time, version).is_some() {
        count += 1;
    }
    count
}

#[test]
fn every_place_that_can_fail_is_made_to_fail() {
    let places = Places::new();
    for version in NdisVersion::ALL {
        search(&places, 1, version);
    }
    let by_export = places.by_export();
    tell(format_args!(
        "fault injection: {} distinct places (export and call stack) made to fail, each once",
        places.all().len()
    ));
    for (export, count) in &by_export {
        tell(format_args!("  {count:>4}  {export}"));
    }
    for (place, lines) in places.all() {
        // From the import to what NDIS, KMDF or the kernel has called, by name.
        assert!(
            !place.callback.is_empty(),
            "the stack is not complete: {place}"
        );
        assert!(!place.stack.is_empty(), "nobody has called it: {place}");
        if env::var_os("IPSECOV2_FAULTS").is_some() {
            tell(format_args!("{place}\n    {}", lines.join("\n    ")));
        }
    }
    let expected = MAY_FAIL.iter().chain(&FRAMEWORK_MAY_FAIL);
    let expected: BTreeSet<_> = expected.copied().collect();
    assert_eq!(by_export.into_keys().collect::<BTreeSet<_>>(), expected);
}

/// A loop that fails in its middle has something to undo.
#[test]
fn every_place_is_made_to_fail_at_its_second_time() {
    let places = Places::new();
    let count = search(&places, 2, NdisVersion::V6_30);
    tell(format_args!(
        "fault injection: {count} places made to fail when reached for the second time"
    ));
    assert!(count > 0);
}

/// No import that may fail is forgotten when the driver gets a new one.
#[test]
fn every_import_is_known_to_fail_or_not() {
    let machine = Machine::builder().build();
    let package = Package::new(Inf::load(&inf()).unwrap(), HARDWARE_ID);
    let loaded = Miniport::load(&machine, &driver(), package).unwrap();
    for (dll, name) in loaded.driver().image().unwrap().imports() {
        let name = if name.starts_with("mem") {
            "mem*"
        } else {
            name
        };
        assert_eq!(
            u8::from(MAY_FAIL.contains(&name)) + u8::from(CANNOT_FAIL.contains(&name)),
            1,
            "{dll}!{name}"
        );
    }
    assert!(loaded.unload().unwrap().is_clean());
}
