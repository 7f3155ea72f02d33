//! Those who act at the same time: transports that send, those that offload, those that return lists late,
//! and administrators.

use std::{
    sync::{PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use ndis_sim::{
    Irql,
    ndis::{AdapterConfig, AdapterState, OidRequest, PowerState, SendOptions},
};
use ndis_sys::*;
use tcpip::{
    lab::{HARDWARE_ID, status_name},
    offload::{self, Way},
    split::Split,
};

use super::{
    Action, World,
    audit::check_books,
    plan::FLOWS,
    station::{Instance, Station},
};
use crate::{flow::Flow, kinds::Kind, ledger::cookie};

/// Packets that may wait in the driver's queue: more than a call sends itself.
const LONG_CHAIN: usize = 150;

fn level(random: &mut fastrand::Rng) -> Irql {
    [Irql::PASSIVE, Irql::DISPATCH][random.usize(..2)]
}

fn pause_for(random: &mut fastrand::Rng, longest: u64) {
    match random.u64(..=longest) {
        0 => thread::yield_now(),
        micros => thread::sleep(Duration::from_micros(micros)),
    }
}

/// Sends the first packet of each flow with extended sequence numbers, alone: it tells both ends on which
/// side of the wrap they are, whatever overtakes what from then on.
pub fn open_flows(world: &World) {
    let seed = world.plan.seed;
    for (index, flow) in world.flows.0.iter().enumerate() {
        let from = &world.stations[world.plan.route(index).0];
        let Some(instance) = from.current().filter(|_| flow.is_extended()) else {
            continue;
        };
        let Some(handles) = instance.handles_of(world, index) else {
            continue; // A tap's.
        };
        let number = world.next[index].fetch_add(flow.per_list(), Ordering::Relaxed);
        let list = flow.nbl(number, &handles, Split::Whole, true, cookie(index, number));
        world.ledger.sent(1);
        let sent = instance.open.send(vec![list]);
        sent.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let settled = world.machine.settle();
        settled.unwrap_or_else(|check| panic!("seed {seed}: {check}"));
    }
}

/// Sends packets of all flows that start at a station.
pub fn send(world: &World, station: &Station, mut random: fastrand::Rng) {
    let flows: Vec<_> = (0..world.flows.0.len())
        .filter(|flow| world.plan.route(*flow).0 == station.index)
        .collect();
    for _ in 0..world.plan.chains {
        let Some(instance) = station.current() else {
            pause_for(&mut random, 300);
            continue;
        };
        let length = match random.u8(..16) {
            0 => LONG_CHAIN,
            _ => random.usize(1..=20),
        };
        let cancel_id = if random.u8(..8) == 0 { CANCEL_ID } else { 0 };
        let splits = [
            Split::Whole,
            Split::Headers,
            Split::Every(100),
            Split::Random(world.plan.seed),
        ];
        let mut lists = Vec::new();
        for _ in 0..length {
            let flow = flows[random.usize(..flows.len())];
            let Some(handles) = instance.handles_of(world, flow) else {
                continue; // A tap has no SAs.
            };
            let step = world.flows.0[flow].per_list();
            let number = world.next[flow].fetch_add(step, Ordering::Relaxed);
            let split = splits[random.usize(..splits.len())];
            let cookie = cookie(flow, number);
            let list = world.flows.0[flow].nbl(number, &handles, split, random.bool(), cookie);
            let list = if cancel_id == 0 {
                list
            } else {
                list.cancel_id(cancel_id)
            };
            lists.push(list.prepare(&world.machine));
        }
        world.ledger.sent(lists.len());
        let options = SendOptions {
            irql: level(&mut random),
            cpu: Some(random.usize(..world.plan.processors)),
            ..SendOptions::default()
        };
        let sent = instance.open.send_with(lists, options);
        sent.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed));
        if random.u8(..8) == 0 {
            pause_for(&mut random, 200);
        }
    }
}

/// NdisGeneratePartialCancelId gives the high byte; the rest is the protocol's.
const CANCEL_ID: usize = 0x0100_0000;

/// Adds, updates and deletes SAs at a station until everything stops.
pub fn associate(world: &World, station: &Station, mut random: fastrand::Rng) {
    let mut spare = 0x0010_0000 + 0x1_0000 * station.index as u32;
    while !world.stop.load(Ordering::Acquire) {
        let Some(instance) = station.current() else {
            pause_for(&mut random, 300);
            continue;
        };
        match random.u8(..8) {
            0..3 => {
                spare = spare & !0xFFF | (spare + 3) & 0xFFF;
                come_and_go(world, station, &instance, spare, &mut random);
            }
            3..5 if world.plan.renews => renew(world, station, &instance, &mut random),
            5 => forge(world, &instance, &mut random),
            _ => update(world, station, &instance, &mut random),
        }
        pause_for(&mut random, 400);
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
        pause_for(random, 200);
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
    pause_for(random, 100);
    for (sa, place) in sas.iter().zip(&instance.handles[flow]) {
        let (_, handles) = instance.add_sas(world, &[sa], way, random);
        if handles[0] != 0 {
            place.store(handles[0], Ordering::Release);
        }
    }
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
    let esp = sa
        .esp
        .iter()
        .map(|esp| (IPsecOffloadV2Esp, esp.spi.0, esp.sequence_high));
    let ah = sa
        .ah
        .iter()
        .map(|ah| (IPsecOffloadV2Ah, ah.spi.0, ah.sequence_high));
    let headers: Vec<_> = esp.chain(ah).collect();
    let (operation, spi, high) = headers[random.usize(..headers.len())];
    let update = offload::update_sa(handles[which], operation, spi, high + 1);
    let request = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, update);
    let status = instance
        .direct(world, Action::UpdateSa, request, random)
        .status;
    let statuses = [
        NDIS_STATUS_SUCCESS,
        NDIS_STATUS_NOT_ACCEPTED,
        NDIS_STATUS_CLOSING,
        // The removal has deleted it.
        NDIS_STATUS_INVALID_PARAMETER,
    ];
    expect_one_of(world, "UPDATE_SA", status, &statuses);
}

/// Returns lists that transports have kept, some time later, until nobody is left who could keep any.
pub fn give_back(world: &World, mut random: fastrand::Rng) {
    while !world.stop.load(Ordering::Acquire) {
        let bindings = world
            .bindings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (listener, open) in bindings {
            let held = listener.take_held();
            if held.is_empty() {
                continue;
            }
            let returned = open.return_nbls(held, level(&mut random));
            returned.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed));
        }
        pause_for(&mut random, 500);
    }
}

/// Pauses, resets, puts to sleep, asks, reconfigures and removes adapters, any of them at any time.
pub fn administer(world: &World, mut random: fastrand::Rng) {
    for _ in 0..world.plan.operations {
        pause_for(&mut random, 1500);
        let station = &world.stations[random.usize(..world.stations.len())];
        let Ok(_alone) = station.control.try_lock() else {
            continue;
        };
        let Some(instance) = station.current() else {
            continue;
        };
        operate(world, station, &instance, &mut random);
    }
}

fn operate(world: &World, station: &Station, instance: &Instance, random: &mut fastrand::Rng) {
    let seed = world.plan.seed;
    let adapter = &instance.adapter;
    let check = |what: &str, result: Result<(), ndis_sim::ndis::Error>| {
        result.unwrap_or_else(|error| panic!("seed {seed}: {what}: {error}"));
    };
    let count = |action| world.counts.add(action);
    let interrupt = || station.interrupted.store(true, Ordering::Release);
    match random.u8(..20) {
        0..4 => {
            interrupt();
            check("pause", adapter.pause());
            is_refused(world, station, instance, NDIS_STATUS_PAUSED, random);
            check_books(world, instance);
            pause_for(random, 500);
            check("restart", adapter.restart());
            count(Action::Pause);
        }
        4..8 => {
            interrupt();
            check("reset", adapter.reset());
            count(Action::Reset);
        }
        8..11 => {
            interrupt();
            check("D3", adapter.set_power(PowerState::D3));
            is_refused(
                world,
                station,
                instance,
                NDIS_STATUS_LOW_POWER_STATE,
                random,
            );
            check_books(world, instance);
            pause_for(random, 500);
            check("D0", adapter.set_power(PowerState::D0));
            count(Action::Sleep);
        }
        11..13 => {
            interrupt();
            check("surprise removal", adapter.surprise_remove());
            count(Action::SurpriseRemoval);
            replace(world, station, random);
        }
        13..15 => {
            interrupt();
            check("pause", adapter.pause());
            check_books(world, instance);
            check("halt", adapter.halt());
            count(Action::Removal);
            replace(world, station, random);
        }
        15 => {
            interrupt();
            check("halt", adapter.halt());
            count(Action::Removal);
            replace(world, station, random);
        }
        16 => start_and_stop(world, random),
        17 => switch_offload(world, station, instance, random),
        18 => {
            let cancelled = instance.open.cancel_sends(CANCEL_ID);
            cancelled.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            count(Action::Cancel);
        }
        _ => ask(world, station, instance, random),
    }
}

/// NDIS does not send now; a packet that comes all the same is given back at once.
fn is_refused(
    world: &World,
    station: &Station,
    instance: &Instance,
    status: i32,
    random: &mut fastrand::Rng,
) {
    let flows = 0..world.flows.0.len();
    let flow = flows.filter(|flow| world.plan.route(*flow).0 == station.index);
    let Some(flow) = flow.into_iter().find(|flow| flow.is_multiple_of(FLOWS)) else {
        return;
    };
    let number = world.next[flow].fetch_add(1, Ordering::Relaxed);
    let list = world.flows.0[flow].nbl(number, &[], Split::Whole, true, cookie(flow, number));
    world.ledger.sent(1);
    let options = SendOptions {
        irql: level(random),
        cpu: Some(random.usize(..world.plan.processors)),
        through: true,
        ..SendOptions::default()
    };
    let seed = world.plan.seed;
    let sent = instance
        .open
        .send_with(vec![list.prepare(&world.machine)], options);
    sent.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(
        world.ledger.status(flow, number).map(status_name),
        Some(status_name(status)),
        "seed {seed}"
    );
}

/// Another adapter comes where one was, with another configuration.
fn replace(world: &World, station: &Station, random: &mut fastrand::Rng) {
    assert_eq!(
        station.current().map(|instance| instance.adapter.state()),
        Some(AdapterState::Halted)
    );
    drop(station.take());
    for (flow, disturbed) in world.disturbed.iter().enumerate() {
        let (from, to) = world.plan.route(flow);
        if [from, to].contains(&station.index) {
            disturbed.store(true, Ordering::Release);
        }
    }
    pause_for(random, 500);
    station.start(world, random);
}

/// Adapters that nobody uses.
fn start_and_stop(world: &World, random: &mut fastrand::Rng) {
    for _ in 0..random.u8(1..=3) {
        let config = AdapterConfig::new(HARDWARE_ID).keyword("*ReceiveBuffers", "32");
        let config = if random.bool() {
            config.paused()
        } else {
            config
        };
        world.counts.add(Action::Start);
        let ended = world.driver.add_adapter(config).and_then(|adapter| {
            if random.bool() {
                world.counts.add(Action::Removal);
                adapter.halt()
            } else {
                world.counts.add(Action::SurpriseRemoval);
                adapter.surprise_remove()
            }
        });
        ended.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed));
    }
}

/// Switches IPsec offload off and on again.
fn switch_offload(
    world: &World,
    station: &Station,
    instance: &Instance,
    random: &mut fastrand::Rng,
) {
    if !world.plan.switches {
        return;
    }
    for (flow, disturbed) in world.disturbed.iter().enumerate() {
        let (from, to) = world.plan.route(flow);
        if [from, to].contains(&station.index) {
            disturbed.store(true, Ordering::Release);
        }
    }
    let requests = if random.bool() {
        [NDIS_OFFLOAD_SET_OFF, NDIS_OFFLOAD_SET_ON].map(|enabled| {
            OidRequest::set(OID_OFFLOAD_ENCAPSULATION, offload::encapsulation(enabled))
        })
    } else {
        [
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED,
            NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED,
        ]
        .map(|value| OidRequest::set(OID_TCP_OFFLOAD_PARAMETERS, offload::ipsec_parameters(value)))
    };
    for request in requests {
        instance.expect(world, request);
        pause_for(random, 300);
    }
    world.counts.add(Action::Switch);
}

/// Queries everything, and sets what changes nothing for the flows.
fn ask(world: &World, station: &Station, instance: &Instance, random: &mut fastrand::Rng) {
    // Of those that cannot be queried, these two must not be refused as such.
    let mut oids = instance.adapter.supported_oids();
    oids.retain(|oid| ![OID_PNP_SET_POWER, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA].contains(oid));
    for oid in oids {
        let _ = instance.oid(world, OidRequest::query(oid, 1024));
    }
    let group: Vec<u8> = (0..random.u8(..32))
        .flat_map(|last| [0x33, 0x33, 0, 0, 0, last])
        .collect();
    instance.expect(world, OidRequest::set(OID_802_3_MULTICAST_LIST, group));
    if !world.plan.is_tap(station.index) {
        let more = [0, NDIS_PACKET_TYPE_MULTICAST, NDIS_PACKET_TYPE_BROADCAST];
        let filter = NDIS_PACKET_TYPE_DIRECTED | more[random.usize(..3)];
        let request = OidRequest::set(OID_GEN_CURRENT_PACKET_FILTER, filter.to_le_bytes());
        instance.expect(world, request);
    }
}
