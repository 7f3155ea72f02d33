//! The books at the end of a schedule.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use ndis_sim::{
    Irql,
    ndis::{AdapterState, OidRequest},
};
use ndis_sys::*;
use tcpip::lab::status_name;

use super::{
    Action, Figures, Outcome, World,
    station::{Instance, Station},
};
use crate::flow::Came;

/// How long the last lists may be on their way.
const PATIENCE: Duration = Duration::from_secs(20);

fn counter(world: &World, instance: &Instance, oid: u32) -> u64 {
    let result = instance.oid(world, OidRequest::query(oid, 8));
    let value = result.u64();
    value.unwrap_or_else(|| panic!("seed {}: {oid:#x}: {result:?}", world.plan.seed))
}

/// The statistics of an adapter that has nothing under way: what its transport has counted.
pub fn check_books(world: &World, instance: &Instance) {
    let listener = &instance.listener;
    let read = |oid| counter(world, instance, oid);
    let is = [
        read(OID_GEN_XMIT_ERROR),
        read(OID_GEN_XMIT_DISCARDS),
        read(OID_GEN_RCV_OK),
        read(OID_GEN_RCV_ERROR),
    ];
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Acquire);
    let expected = [
        load(&listener.failed),
        load(&listener.starved),
        load(&listener.received),
        0,
    ];
    let seed = world.plan.seed;
    assert_eq!(
        is, expected,
        "seed {seed}: failed, discarded, received, in error: the adapter's statistics and what its transport \
         saw"
    );
    let least = load(&listener.succeeded);
    let most = least + load(&listener.doubtful);
    let sent = read(OID_GEN_XMIT_OK);
    assert!(
        (least..=most).contains(&sent),
        "seed {seed}: the adapter says that it has sent {sent} packets, its transport {least} to {most}"
    );
}

/// Brings everything to rest, balances the books, unloads the driver.
pub fn audit(world: World) -> Outcome {
    let seed = world.plan.seed;
    let failures = world.machine.faults().failures();
    world.machine.faults().clear();
    rest(&world);
    for station in &world.stations {
        if let Some(instance) = station.current() {
            check_books(&world, &instance);
        }
    }
    check_links(&world);
    let mut figures = Figures::of(&world.counts);
    figures.failures = failures;
    check_sends(&world, &mut figures);
    check_receives(&world, &mut figures);
    let World {
        machine,
        driver,
        stations,
        bindings,
        ..
    } = world;
    drop((stations, bindings));
    let leaks = driver
        .unload()
        .unwrap_or_else(|check| panic!("seed {seed}: {check}"));
    assert!(leaks.is_clean(), "seed {seed}: left behind:\n{leaks}");
    let report = machine.report();
    assert!(report.is_clean(), "seed {seed}: {report}");
    Outcome {
        figures,
        order: machine.order(),
    }
}

/// Lets everything that is under way come to its end.
fn rest(world: &World) {
    let seed = world.plan.seed;
    let began = Instant::now();
    loop {
        world
            .machine
            .settle()
            .unwrap_or_else(|check| panic!("seed {seed}: {check}"));
        let bindings = world
            .bindings
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut held = false;
        for (listener, open) in bindings.iter() {
            let lists = listener.take_held();
            held |= !lists.is_empty();
            let returned = open.return_nbls(lists, Irql::DISPATCH);
            returned.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let out: usize = bindings
            .iter()
            .map(|(_, open)| open.adapter())
            .map(|adapter| adapter.sends_outstanding() + adapter.receives_outstanding())
            .sum();
        if out == 0 && !held {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "seed {seed}: {out} lists never come back"
        );
    }
    for instance in world
        .stations
        .iter()
        .filter_map(|station| station.current())
    {
        assert_eq!(
            instance.adapter.state(),
            AdapterState::Running,
            "seed {seed}"
        );
    }
}

/// What an adapter has told of its link last is so, and it has told no more than changes.
fn check_links(world: &World) {
    let seed = world.plan.seed;
    let here: Vec<_> = world.stations.iter().filter_map(Station::current).collect();
    for instance in &here {
        let adapter = &instance.adapter;
        let told: Vec<_> = adapter
            .status_indications()
            .into_iter()
            .filter(|status| status.code == NDIS_STATUS_LINK_STATE)
            .map(|status| status.buffer[4..8].to_vec())
            .collect();
        world.counts.add_many(Action::LinkChange, told.len() as u64);
        assert!(
            told.windows(2).all(|pair| pair[0] != pair[1]),
            "seed {seed}: {told:?}"
        );
        let up = !world.plan.follows || here.len() > 1;
        let link = adapter.link_state().map(|link| link.MediaConnectState);
        let expected = if up {
            MediaConnectStateConnected
        } else {
            MediaConnectStateDisconnected
        };
        assert_eq!(link, Some(expected), "seed {seed}: {} are here", here.len());
    }
}

/// Every packet was completed once, with a status that something has given reason for.
fn check_sends(world: &World, figures: &mut Figures) {
    let (sent, completed) = world.ledger.close();
    let mut by_status = BTreeMap::new();
    for (flow, status) in &completed {
        *by_status.entry(status_name(*status)).or_insert(0_u64) += 1;
        let allowed = match *status {
            NDIS_STATUS_SUCCESS => true,
            // A handle of an SA that is gone.
            NDIS_STATUS_FAILURE => {
                let from = &world.stations[world.plan.route(*flow).0];
                !world.flows.0[*flow].sas().is_empty()
                    && (world.disturbed[*flow].load(Ordering::Acquire)
                        || from.interrupted.load(Ordering::Acquire))
            }
            NDIS_STATUS_PAUSED
            | NDIS_STATUS_RESET_IN_PROGRESS
            | NDIS_STATUS_LOW_POWER_STATE
            | NDIS_STATUS_MEDIA_DISCONNECTED
            | NDIS_STATUS_NOT_ACCEPTED => world.stations[world.plan.route(*flow).0]
                .interrupted
                .load(Ordering::Acquire),
            NDIS_STATUS_SEND_ABORTED => true,
            NDIS_STATUS_RESOURCES => world.plan.failures.is_some(),
            _ => false,
        };
        assert!(
            allowed,
            "seed {}: a packet of flow {flow}: {}",
            world.plan.seed,
            status_name(*status)
        );
    }
    assert_eq!(
        completed.len() as u64,
        sent,
        "seed {}: not every send is completed: {by_status:?}",
        world.plan.seed
    );
    let packets = |wanted: fn(i32) -> bool| {
        let lists = completed.iter().filter(|(_, status)| wanted(*status));
        lists.map(|(flow, _)| world.flows.0[*flow].per_list()).sum()
    };
    figures.sent = packets(|_| true);
    figures.completed = packets(|status| status == NDIS_STATUS_SUCCESS);
}

/// Every frame that came up is a packet that went out, came up once, and is right; where nothing
/// interrupts, each that went out came up or is in the statistics.
fn check_receives(world: &World, figures: &mut Figures) {
    let seed = world.plan.seed;
    let mut twice = HashSet::new();
    let mut arrived = vec![0_u64; world.stations.len()];
    let bindings = world
        .bindings
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    for (listener, open) in bindings.iter() {
        let mac = open.adapter().mac();
        let station = usize::from(mac[5]);
        let is_tap = world.plan.is_tap(station);
        for seen in listener.take_seen() {
            let judged = world.flows.judge(&seen);
            let (flow, number, came) = judged.unwrap_or_else(|error| {
                panic!(
                    "seed {seed}: at station {station}: {error:#}, {:?}",
                    seen.stamp
                )
            });
            let about = || format!("seed {seed}: packet {number} of flow {flow} at {station}");
            let (_, to) = world.plan.route(flow);
            assert!(is_tap || to == station, "{}: not for it", about());
            assert!(twice.insert((station, flow, number)), "{}: twice", about());
            assert!(went_out(world, flow, number), "{}: was not sent", about());
            arrived[station] += 1;
            figures.received += 1;
            let disturbed = world.disturbed[flow].load(Ordering::Acquire);
            let right = match came {
                Came::Clear => true,
                Came::Verified => {
                    figures.verified += 1;
                    !is_tap
                }
                // Also when the vector registers could not be saved.
                Came::Untouched => is_tap || disturbed || world.plan.failures.is_some(),
                Came::HalfOpened => disturbed,
                // Sent while its SA was not to be applied.
                Came::Unsealed | Came::Unauthentic => world.plan.switches && disturbed,
            };
            assert!(right, "{}: {came:?}", about());
        }
    }
    drop(bindings);
    for station in &world.stations {
        if station.interrupted.load(Ordering::Acquire) {
            continue;
        }
        let is_tap = world.plan.is_tap(station.index);
        let (_, completed) = world.ledger.close();
        let (mut least, mut doubtful) = (0, 0);
        for (flow, status) in completed {
            let (from, to) = world.plan.route(flow);
            if to == station.index || is_tap && from != station.index {
                let packets = world.flows.0[flow].per_list();
                match status {
                    NDIS_STATUS_SUCCESS => least += packets,
                    _ => doubtful += packets - 1,
                }
            }
        }
        let came = arrived[station.index] + lost(world, station.index);
        assert!(
            (least..=least + doubtful).contains(&came),
            "seed {seed}: {came} packets came to station {} or were lost there, and {least} to {} were sent",
            station.index,
            least + doubtful
        );
    }
}

/// Whether a packet was sent, or may have been: of a large send that was not completed well, any number of
/// segments may have gone out.
fn went_out(world: &World, flow: usize, number: u64) -> bool {
    let packets = world.flows.0[flow].per_list();
    match world.ledger.status(flow, number - number % packets) {
        Some(NDIS_STATUS_SUCCESS) => true,
        Some(_) => packets > 1,
        None => false,
    }
}

/// Frames for which the adapter that is there now had no buffer.
fn lost(world: &World, station: usize) -> u64 {
    let instance = world.stations[station].current();
    instance.map_or(0, |instance| {
        counter(world, &instance, OID_GEN_RCV_NO_BUFFER)
    })
}
