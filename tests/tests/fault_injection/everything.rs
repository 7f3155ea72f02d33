//! All that is done with the driver, from DriverEntry to unload.

use std::sync::Arc;

use ipsecov2_tests::{
    flow::{Flow, Flows},
    kinds::Kind,
    lab_options,
};
use ndis_sim::{
    Irql, Machine,
    inject::{Place, Places},
    ndis::{AdapterConfig, OidRequest, PowerState},
};
use ndis_sys::*;
use tcpip::{
    lab::{HARDWARE_ID, Lab, NdisVersion, Port, status_name},
    offload::{self, Handle, Way},
    recorder::Recorder,
};

use crate::{
    run::{Run, status_of},
    traffic::{A, B, Traffic, extended, flows},
};

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

/// An adapter and what is bound to it.
pub struct Side {
    pub port: Port,
    pub recorder: Arc<Recorder>,
}

fn start_adapter(run: &Run, lab: &Lab, mac: [u8; 6], link: &str) -> Side {
    let recorder = Recorder::on(&run.machine);
    let config = AdapterConfig::new(HARDWARE_ID)
        .mac(mac)
        .keyword("*ReceiveBuffers", "900")
        .keyword("*JumboPacket", "1600")
        .keyword("LegacyAlgorithms", "1")
        .keyword("LinkState", link);
    let port = run.step("MiniportInitializeEx", &START, || {
        lab.port_with(config.clone(), recorder.clone())
            .map_err(|error| status_of(run, &error))
    });
    Side { port, recorder }
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

/// Every OID that the adapter lists and that can be queried.
fn query_everything(run: &Run, port: &Port) {
    let mut oids = port.adapter.supported_oids();
    oids.retain(|oid| !SET_ONLY.contains(oid));
    for oid in oids {
        run.sure("a query", || port.open.oid(OidRequest::query(oid, 1024)));
    }
}

/// Every OID that can be set, to what leaves the adapter as it is.
fn set_everything(run: &Run, port: &Port) {
    let filter = NDIS_PACKET_TYPE_PROMISCUOUS.to_le_bytes();
    let mut link = [0; 32];
    link[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 1, 32, 0]);
    // All negotiated.
    link[28] = 0xf;
    let ipsec = NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED;
    for (oid, data) in [
        (OID_GEN_CURRENT_PACKET_FILTER, filter.to_vec()),
        (OID_GEN_CURRENT_LOOKAHEAD, 1500_u32.to_le_bytes().to_vec()),
        (OID_GEN_VLAN_ID, vec![0; 4]),
        (OID_802_3_MULTICAST_LIST, vec![0x33, 0x33, 0, 0, 0, 1]),
        (OID_GEN_LINK_PARAMETERS, link.to_vec()),
        (
            OID_OFFLOAD_ENCAPSULATION,
            offload::encapsulation(NDIS_OFFLOAD_SET_ON),
        ),
        (OID_TCP_OFFLOAD_PARAMETERS, offload::ipsec_parameters(ipsec)),
    ] {
        let set = || port.open.oid(OidRequest::set(oid, data));
        let status = run.sure("a set", set).status;
        assert_eq!(
            status,
            NDIS_STATUS_SUCCESS,
            "{oid:#x}: {} after {:?}",
            status_name(status),
            run.found()
        );
    }
}

/// The next high half of extended sequence numbers.
fn update(run: &Run, port: &Port, flows: &Flows, handle: Handle) {
    let esp = flows.0[extended()].sas()[0].esp.as_ref().unwrap();
    let update = offload::update_sa(handle, IPsecOffloadV2Esp, esp.spi.0, 7);
    let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
    let result = run.sure("UPDATE_SA", || {
        port.open.direct_oid(request, Irql::DISPATCH)
    });
    assert_eq!(result.status, NDIS_STATUS_SUCCESS);
}

/// Loads the driver, does everything with it, unloads it. Returns what failed.
pub fn everything(places: &Arc<Places>, time: u64, version: NdisVersion) -> Option<Place> {
    let machine = Machine::builder().processors(2).build();
    machine.faults().fail_new_place(places, time);
    let run = Run { machine };
    let run = &run;
    let lab = run.step("DriverEntry", &START, || {
        Lab::on(run.machine.clone(), &lab_options(version)).map_err(|error| status_of(run, &error))
    });
    // A version that could not be read is the default: the requests follow what was registered.
    let [a, b] = [A, B].map(|mac| start_adapter(run, &lab, mac, "0"));
    for side in [&a, &b] {
        set_everything(run, &side.port);
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
    // No DPC has time left: work items send and receive, which is another stack below each call.
    let watchdog = &run.machine.kernel().dpc_watchdog;
    watchdog.exhausted(true);
    traffic.flow(run, &a, &b, 200);
    watchdog.exhausted(false);
    for (port, handles) in [(&a.port, &outbound), (&b.port, &inbound)] {
        update(run, port, &flows, handles[extended()].as_ref().unwrap()[0]);
    }
    for side in [&a, &b] {
        let adapter = &side.port.adapter;
        run.sure("MiniportPause", || adapter.pause());
        run.sure("MiniportRestart", || adapter.restart());
        traffic.flow(run, &a, &b, 1);
        run.sure("MiniportResetEx", || adapter.reset());
        traffic.flow(run, &a, &b, 1);
        run.sure("OID_PNP_SET_POWER", || adapter.set_power(PowerState::D3));
        run.sure("OID_PNP_SET_POWER", || adapter.set_power(PowerState::D0));
        traffic.flow(run, &a, &b, 1);
    }
    for (port, handles) in [(&a.port, outbound), (&b.port, inbound)] {
        let handles: Vec<_> = handles.into_iter().take(9).flatten().flatten().collect();
        run.sure("DELETE_SA", || port.delete_sas(&handles));
    }
    // The others are left for removal and halt to delete.
    let third = start_adapter(run, &lab, [2, 0, 0, 0, 0, 0xc], "1");
    add_sas(run, &third.port, &flows, Way::Inbound);
    run.sure("the removal", || third.port.adapter.surprise_remove());
    run.sure("MiniportHaltEx", || b.port.adapter.halt());
    let found = run.found();
    drop((a, b, third));
    lab.finish()
        .unwrap_or_else(|error| panic!("after {found:?}: {error:#}"));
    assert_eq!(run.found(), found, "something fails in the unload");
    found
}
