//! Transports that offload: SAs come, change and go.

use std::sync::atomic::Ordering;

use ndis_sim::ndis::OidRequest;
use ndis_sys::*;
use tcpip::{
    lab::status_name,
    offload::{self, Way},
    sas::Sa,
};

use super::{
    Action, World,
    station::{Instance, Station},
    workers::pause_for,
};
use crate::{flow::Flow, kinds::Kind};

/// Adds, updates and deletes SAs at a station until everything stops.
pub fn associate(world: &World, station: &Station, mut random: fastrand::Rng) {
    let mut spare = 0x0010_0000 + 0x1_0000 * station.index as u32;
    while !world.stop.load(Ordering::Acquire) {
        let Some(instance) = station.current() else {
            pause_for(world, &mut random, 300);
            continue;
        };
        match random.u8(..8) {
            0..3 => {
                spare = spare & !0xFFF | (spare + 3) & 0xFFF;
                come_and_go(world, station, &instance, spare, &mut random);
            }
            3..5 if world.plan.renews => renew(world, station, &instance, &mut random),
            5 => forge(world, &instance, &mut random),
            6 => contend(world, &instance, spare, &mut random),
            _ => update(world, station, &instance, &mut random),
        }
        pause_for(world, &mut random, 400);
    }
}

/// SAs that no packet uses.
fn come_and_go(
    world: &World,
    station: &Station,
    instance: &Instance,
    id: u32,
    random: &mut fastrand::Rng,
) {
    let mut kinds = Kind::usual();
    kinds.retain(|kind| matches!(kind, Kind::Sealed(..)));
    let addresses = [[2, 1, 0, 0, 0, 1], [2, 1, 0, 0, 0, 2]];
    let flows: Vec<_> = (0..random.u32(1..=3))
        .map(|i| {
            let kind = kinds[random.usize(..kinds.len())];
            kind.flow(id + i, addresses[0], addresses[1], random.bool(), 0)
        })
        .collect();
    let sas: Vec<_> = flows.iter().flat_map(Flow::sas).collect();
    let way = [Way::Inbound, Way::Outbound][random.usize(..2)];
    let (status, mut handles) = instance.add_sas(world, &sas, way, random);
    let mut statuses = vec![
        NDIS_STATUS_SUCCESS,
        // More SAs than the adapter holds; a reset, or a removal; an adapter that is gone.
        NDIS_STATUS_RESOURCES,
        NDIS_STATUS_NOT_ACCEPTED,
        NDIS_STATUS_CLOSING,
    ];
    if world.plan.switches {
        // IPsec offload is switched off.
        statuses.push(NDIS_STATUS_NOT_SUPPORTED);
    }
    expect_one_of(world, "ADD_SA", status, &statuses);
    if station.interrupted.load(Ordering::Acquire) || world.plan.is_tap(station.index) {
        pause_for(world, random, 200);
    }
    handles.retain(|&handle| handle != 0);
    delete(world, instance, &handles, random);
    if random.bool() {
        // Once more: handles of nothing are passed over.
        delete(world, instance, &handles, random);
    }
}

fn delete(world: &World, instance: &Instance, handles: &[usize], random: &mut fastrand::Rng) {
    if handles.is_empty() {
        return;
    }
    let list = offload::delete_sa(handles);
    let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA;
    let status = instance
        .direct_list(world, Action::DeleteSa, oid, list, random)
        .status;
    let statuses = [
        NDIS_STATUS_SUCCESS,
        NDIS_STATUS_NOT_ACCEPTED,
        NDIS_STATUS_CLOSING,
    ];
    expect_one_of(world, "DELETE_SA", status, &statuses);
}

fn expect_one_of(world: &World, what: &str, status: i32, statuses: &[i32]) {
    assert!(
        statuses.contains(&status),
        "seed {}: {what}: {}",
        world.plan.seed,
        status_name(status)
    );
}

/// Deletes an SA that packets use, and adds it again. The transport goes on with the old handle meanwhile.
fn renew(world: &World, station: &Station, instance: &Instance, random: &mut fastrand::Rng) {
    let flow = random.usize(..world.flows.0.len());
    let (from, to) = world.plan.route(flow);
    let sas = world.flows.0[flow].sas();
    let Some(handles) = instance
        .handles_of(world, flow)
        .filter(|handles| !handles.is_empty())
    else {
        return;
    };
    if world.flows.0[flow].is_extended() || ![from, to].contains(&station.index) {
        return;
    }
    world.disturbed[flow].store(true, Ordering::Release);
    let way = if from == station.index {
        Way::Outbound
    } else {
        Way::Inbound
    };
    delete(world, instance, &handles, random);
    pause_for(world, random, 100);
    for (sa, place) in sas.iter().zip(&instance.handles[flow]) {
        let (_, handles) = instance.add_sas(world, &[sa], way, random);
        if handles[0] != 0 {
            place.store(handles[0], Ordering::Release);
        }
    }
}

/// Updates an SA while it is deleted: the update is done before, or meets nothing.
fn contend(world: &World, instance: &Instance, id: u32, random: &mut fastrand::Rng) {
    let mut kinds = Kind::usual();
    kinds.retain(|kind| matches!(kind, Kind::Sealed(..)));
    let kind = kinds[random.usize(..kinds.len())];
    let addresses = [[2, 1, 0, 0, 0, 1], [2, 1, 0, 0, 0, 2]];
    let flow = kind
        .flow(id, addresses[0], addresses[1], random.bool(), 0)
        .extended(1 << 32);
    let sa = &flow.sas()[0];
    let way = [Way::Inbound, Way::Outbound][random.usize(..2)];
    let (_, handles) = instance.add_sas(world, &[sa], way, random);
    let Some(&handle) = handles.first().filter(|handle| **handle != 0) else {
        return;
    };
    let (operation, spi, high) = headers_of(sa)[0];
    let mut others = random.fork();
    world.machine.scope(|scope| {
        scope.spawn(|| delete(world, instance, &[handle], &mut others));
        for _ in 0..3 {
            let update = offload::update_sa(handle, operation, spi, high + 1);
            let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
            let status = instance
                .direct(world, Action::UpdateSa, request, random)
                .status;
            expect_one_of(world, "UPDATE_SA", status, &UPDATED);
        }
    });
}

/// What an update ends with.
const UPDATED: [i32; 4] = [
    NDIS_STATUS_SUCCESS,
    NDIS_STATUS_NOT_ACCEPTED,
    NDIS_STATUS_CLOSING,
    // It is deleted, or the removal has done so.
    NDIS_STATUS_INVALID_PARAMETER,
];

/// The headers of an SA: operation, SPI, and the high half of the sequence numbers.
fn headers_of(sa: &Sa) -> Vec<(i32, u32, u32)> {
    let esp = sa
        .esp
        .iter()
        .map(|esp| (IPsecOffloadV2Esp, esp.spi.0, esp.sequence_high));
    let ah = sa
        .ah
        .iter()
        .map(|ah| (IPsecOffloadV2Ah, ah.spi.0, ah.sequence_high));
    esp.chain(ah).collect()
}

/// Handles that were never given out.
fn forge(world: &World, instance: &Instance, random: &mut fastrand::Rng) {
    let handles: Vec<_> = (0..3).map(|_| random.usize(1..)).collect();
    delete(world, instance, &handles, random);
    let update = offload::update_sa(
        handles[0],
        IPsecOffloadV2Esp,
        random.u32(..),
        random.u32(..),
    );
    let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
    let status = instance
        .direct(world, Action::UpdateSa, request, random)
        .status;
    let statuses = [
        NDIS_STATUS_INVALID_PARAMETER,
        NDIS_STATUS_NOT_ACCEPTED,
        NDIS_STATUS_CLOSING,
    ];
    expect_one_of(world, "UPDATE_SA", status, &statuses);
}

/// The high half of extended sequence numbers, once the first packets have passed: TCP/IP announces the one
/// that comes with the wrap, or has come.
fn update(world: &World, station: &Station, instance: &Instance, random: &mut fastrand::Rng) {
    let flow = random.usize(..world.flows.0.len());
    let (from, to) = world.plan.route(flow);
    let Some(handles) = instance
        .handles_of(world, flow)
        .filter(|handles| !handles.is_empty())
    else {
        return;
    };
    // The first packet that this adapter has sealed or opened says on which side of the wrap it is.
    if !world.flows.0[flow].is_extended()
        || ![from, to].contains(&station.index)
        || !instance.listener.has_passed(flow)
    {
        return;
    }
    let which = random.usize(..handles.len());
    let sa = &world.flows.0[flow].sas()[which];
    let headers = headers_of(sa);
    let (operation, spi, high) = headers[random.usize(..headers.len())];
    let update = offload::update_sa(handles[which], operation, spi, high + 1);
    let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
    let status = instance
        .direct(world, Action::UpdateSa, request, random)
        .status;
    expect_one_of(world, "UPDATE_SA", status, &UPDATED);
}
