//! Transports that send, and those that return lists late.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use ndis_sim::{Irql, ndis::SendOptions};
use tcpip::split::Split;

use super::{
    Action, World,
    station::{Instance, Station},
};
use crate::ledger::cookie;

/// Packets that may wait in the driver's queue: more than a call sends itself.
const LONG_CHAIN: usize = 150;
/// Packets of which some wait although a burst from the queue is under way.
const VERY_LONG_CHAIN: usize = 500;

/// A level at which NDIS calls for data and direct requests.
pub fn level(random: &mut fastrand::Rng) -> Irql {
    [Irql::PASSIVE, Irql::DISPATCH][random.usize(..2)]
}

/// Waits, for up to so many microseconds.
pub fn pause_for(world: &World, random: &mut fastrand::Rng, longest: u64) {
    let time = Duration::from_micros(random.u64(..=longest));
    world.machine.sleep(time);
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
    for _ in 0..world.plan.chains {
        let Some(instance) = station.current() else {
            pause_for(world, &mut random, 300);
            continue;
        };
        let length = match random.u8(..16) {
            0 => LONG_CHAIN,
            _ => random.usize(1..=20),
        };
        let cancel_id = if random.u8(..8) == 0 { CANCEL_ID } else { 0 };
        let irql = level(&mut random);
        send_chain(
            world,
            station,
            &instance,
            length,
            cancel_id,
            irql,
            &mut random,
        );
        if cancel_id != 0 && random.bool() {
            cancel(world, &instance);
        }
        if random.u8(..8) == 0 {
            pause_for(world, &mut random, 200);
        }
    }
}

/// Sends so much that there is something in the driver's queue while it works on what it has taken from there,
/// and has it cancelled then.
pub fn send_and_cancel(
    world: &World,
    station: &Station,
    instance: &Instance,
    random: &mut fastrand::Rng,
) {
    let mut others = random.fork();
    world.machine.scope(|scope| {
        scope.spawn(|| {
            let length = others.usize(LONG_CHAIN..=VERY_LONG_CHAIN);
            // The call returns before the DPC runs, and so with lists in the queue.
            let irql = Irql::DISPATCH;
            send_chain(
                world,
                station,
                instance,
                length,
                CANCEL_ID,
                irql,
                &mut others,
            );
        });
        for _ in 0..4 {
            pause_for(world, random, 400);
            cancel(world, instance);
        }
    });
}

/// Cancels what this transport has sent under its id.
pub fn cancel(world: &World, instance: &Instance) {
    let cancelled = instance.open.cancel_sends(CANCEL_ID);
    cancelled.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed));
    world.counts.add(Action::Cancel);
}

/// Sends one chain, of up to `length` lists of any flows from here.
fn send_chain(
    world: &World,
    station: &Station,
    instance: &Instance,
    length: usize,
    cancel_id: usize,
    irql: Irql,
    random: &mut fastrand::Rng,
) {
    let flows: Vec<_> = (0..world.flows.0.len())
        .filter(|flow| world.plan.route(*flow).0 == station.index)
        .collect();
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
        irql,
        cpu: Some(world.plan.data_processor(random)),
        ..SendOptions::default()
    };
    let sent = instance.open.send_with(lists, options);
    sent.unwrap_or_else(|error| panic!("seed {}: {error}", world.plan.seed));
}

/// NdisGeneratePartialCancelId gives the high byte; the rest is the protocol's.
const CANCEL_ID: usize = 0x0100_0000;

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
        pause_for(world, &mut random, 500);
    }
}
