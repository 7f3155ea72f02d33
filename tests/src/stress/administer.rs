//! Administrators, the power manager, and a hand on the cable.

use std::sync::atomic::Ordering;

use ndis_sim::ndis::{AdapterConfig, AdapterState, OidRequest, PowerState, SendOptions};
use ndis_sys::*;
use tcpip::{
    lab::{HARDWARE_ID, status_name},
    offload,
    split::Split,
};

use super::{
    Action, World,
    audit::check_books,
    plan::FLOWS,
    station::{Instance, Station, start_adapter},
    workers::{cancel, level, pause_for, send_and_cancel},
};
use crate::ledger::cookie;

/// Pauses, resets, puts to sleep, asks, reconfigures and removes adapters, any of them at any time.
pub fn administer(world: &World, mut random: fastrand::Rng) {
    for _ in 0..world.plan.operations {
        pause_for(world, &mut random, 1500);
        let station = &world.stations[random.usize(..world.stations.len())];
        let Ok(_alone) = station.control.try_lock() else {
            continue;
        };
        let Some(instance) = station.current() else {
            continue;
        };
        if random.u8(..4) != 0 {
            operate(world, station, &instance, &mut random);
            continue;
        }
        // In the midst of what has to be queued, and is taken out of there by others.
        let mut others = random.fork();
        world.machine.scope(|scope| {
            scope.spawn(|| send_and_cancel(world, station, &instance, &mut others));
            pause_for(world, &mut random, 500);
            operate(world, station, &instance, &mut random);
        });
    }
}

fn operate(world: &World, station: &Station, instance: &Instance, random: &mut fastrand::Rng) {
    let seed = world.plan.seed;
    let adapter = &instance.adapter;
    let check = |what: &str, result: Result<(), ndis_sim::ndis::Error>| {
        result.unwrap_or_else(|error| panic!("seed {seed}: {what}: {error}"));
    };
    let count = |action| world.counts.add(action);
    let interrupt = || world.interrupt(station);
    match random.u8(..20) {
        0..4 => {
            interrupt();
            check("pause", adapter.pause());
            is_refused(world, station, instance, NDIS_STATUS_PAUSED, random);
            check_books(world, instance);
            pause_for(world, random, 500);
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
            pause_for(world, random, 500);
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
        18 => cancel(world, instance),
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
        cpu: Some(world.plan.data_processor(random)),
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
    pause_for(world, random, 500);
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
        let Some(adapter) = start_adapter(world, config) else {
            continue;
        };
        let ended = if random.bool() {
            world.counts.add(Action::Removal);
            adapter.halt()
        } else {
            world.counts.add(Action::SurpriseRemoval);
            adapter.surprise_remove()
        };
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
        pause_for(world, random, 300);
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
