//! What an administrator, the power manager and a hand on the cable do to adapters that carry traffic under
//! SAs: the adapter itself loses what it may lose and nothing else, all others do not notice.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use ipsecov2_tests::{
    driver, inf,
    load::{Arrivals, FLOWS, Load, Peer, Wire, config, mac},
};
use ndis_sim::{
    Machine,
    inf::{Inf, RegValue},
    ndis::{AdapterState, Miniport, Package, PowerState, SendNbl},
};
use ndis_sys::*;
use tcpip::lab::{HARDWARE_ID, NdisVersion, status_name};

/// What happens to an adapter that goes on afterwards.
#[derive(Clone, Copy, Debug)]
enum Event {
    PauseAndRestart,
    Reset,
    Sleep,
    All,
}

impl Event {
    const ALL: [Self; 4] = [Self::PauseAndRestart, Self::Reset, Self::Sleep, Self::All];

    fn happen(self, peer: &Peer) {
        let adapter = &peer.port.adapter;
        let done = match self {
            Self::PauseAndRestart => adapter.pause().and_then(|()| adapter.restart()),
            Self::Reset => adapter.reset(),
            Self::Sleep => adapter
                .set_power(PowerState::D3)
                .and_then(|()| adapter.set_power(PowerState::D0)),
            Self::All => {
                Self::Reset.happen(peer);
                Self::PauseAndRestart.happen(peer);
                Self::Sleep.happen(peer);
                Ok(())
            }
        };
        done.unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    /// With what sends may be completed beside success.
    fn statuses(self) -> Vec<i32> {
        match self {
            Self::PauseAndRestart => vec![NDIS_STATUS_PAUSED],
            Self::Reset => vec![NDIS_STATUS_RESET_IN_PROGRESS],
            Self::Sleep => vec![NDIS_STATUS_PAUSED, NDIS_STATUS_LOW_POWER_STATE],
            Self::All => vec![
                NDIS_STATUS_PAUSED,
                NDIS_STATUS_RESET_IN_PROGRESS,
                NDIS_STATUS_LOW_POWER_STATE,
            ],
        }
    }
}

/// Which end it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Sender,
    Receiver,
    Both,
}

fn load_and_run(wire: &Wire, peers: &[&Peer], event: impl FnMut(&[Load])) -> u64 {
    let mut event = event;
    let loads: Vec<_> = peers.iter().map(|peer| wire.load(peer)).collect();
    for load in &loads {
        load.pass(50);
    }
    event(&loads);
    for load in &loads {
        load.pass(50);
    }
    loads.into_iter().map(Load::stop).sum()
}

fn names(statuses: &BTreeMap<i32, u64>) -> Vec<String> {
    statuses.keys().map(|status| status_name(*status)).collect()
}

fn total(arrivals: &Arrivals) -> u64 {
    arrivals.values().sum()
}

/// Everything that is sent from now on comes up, decrypted: the SAs are what they were.
fn works(wire: &Wire, from: &Peer, to: &Peer) {
    let _ = wire.arrivals(to);
    let before = to.counter(OID_GEN_RCV_NO_BUFFER);
    let failed = from.listener.unsent();
    let sent = load_and_run(wire, &[from], |_| {});
    let arrivals = wire.arrivals(to);
    let lost = to.counter(OID_GEN_RCV_NO_BUFFER) - before;
    assert_eq!(total(&arrivals) + lost, sent, "{arrivals:?}");
    assert_eq!(
        arrivals.keys().copied().collect::<Vec<_>>(),
        ["clear", "verified"]
    );
    assert_eq!(from.listener.unsent(), failed, "a send fails afterwards");
}

#[test]
fn pause_reset_and_sleep_lose_packets_and_nothing_else() {
    let mut processors = 0;
    for event in Event::ALL {
        for role in [Role::Sender, Role::Receiver, Role::Both] {
            for version in NdisVersion::ALL {
                processors = 1 + processors % 3;
                let wire = Wire::new(version, processors, &[(0, 1), (1, 0)]);
                let [a, b] = [wire.peer(0), wire.peer(1)];
                load_and_run(&wire, &[&a, &b], |loads| {
                    for _ in 0..5 {
                        if role != Role::Receiver {
                            event.happen(&a);
                        }
                        if role != Role::Sender {
                            event.happen(&b);
                        }
                        loads.iter().for_each(|load| load.pass(20));
                    }
                });
                let about = format!("{event:?} of {role:?}, {version}, {processors} processors");
                for peer in [&a, &b] {
                    let arrivals = wire.arrivals(peer);
                    assert!(arrivals.contains_key("verified"), "{about}: {arrivals:?}");
                    assert!(
                        arrivals
                            .keys()
                            .all(|kind| ["clear", "verified"].contains(kind)),
                        "{about}: {arrivals:?}"
                    );
                }
                let mut statuses = wire.statuses();
                assert!(statuses.remove(&NDIS_STATUS_SUCCESS).is_some());
                statuses.retain(|status, _| !event.statuses().contains(status));
                assert!(statuses.is_empty(), "{about}: {:?}", names(&statuses));
                works(&wire, &a, &b);
                works(&wire, &b, &a);
                drop((a, b));
                wire.finish();
            }
        }
    }
}

/// How an adapter goes.
#[derive(Clone, Copy, Debug)]
enum Removal {
    Surprise,
    Orderly,
}

#[test]
fn removal_is_not_noticed_by_others_and_the_next_adapter_works() {
    for removal in [Removal::Surprise, Removal::Orderly] {
        for version in NdisVersion::ALL {
            // 2 and 3 are bystanders.
            let wire = Wire::new(version, 3, &[(0, 1), (1, 0), (2, 3), (3, 2)]);
            let [a, mut b, c, d] = [0, 1, 2, 3].map(|index| wire.peer(index));
            let lost = [&c, &d].map(|peer| peer.counter(OID_GEN_RCV_NO_BUFFER));
            assert_eq!(lost, [0, 0]);
            let bystanders = [wire.load(&c), wire.load(&d)];
            for _ in 0..4 {
                load_and_run(&wire, &[&a], |_| {});
                let loads = [wire.load(&a), wire.load(&b)];
                loads.iter().for_each(|load| load.pass(60));
                let gone = match removal {
                    Removal::Surprise => b.port.adapter.surprise_remove(),
                    Removal::Orderly => b.port.adapter.halt(),
                };
                gone.unwrap_or_else(|error| panic!("{removal:?}: {error}"));
                assert_eq!(b.port.adapter.state(), AdapterState::Halted);
                // What comes for it now goes nowhere; what it is given comes back.
                loads.iter().for_each(|load| load.pass(30));
                loads.into_iter().for_each(|load| {
                    load.stop();
                });
                let arrivals = wire.arrivals(&b);
                assert!(
                    arrivals
                        .keys()
                        .all(|kind| ["clear", "verified"].contains(kind)),
                    "{removal:?}, {version}: {arrivals:?}"
                );
                // The extended sequence numbers of its flows go on where they are.
                b = wire.peer(1);
                works(&wire, &a, &b);
                works(&wire, &b, &a);
            }
            let [from_c, from_d] = bystanders.map(Load::stop);
            for (peer, sent) in [(&d, from_c), (&c, from_d)] {
                let arrivals = wire.arrivals(peer);
                let lost = peer.counter(OID_GEN_RCV_NO_BUFFER);
                assert_eq!(total(&arrivals) + lost, sent, "a bystander lost something");
                assert_eq!(peer.listener.unsent(), 0);
            }
            drop((a, b, c, d));
            wire.finish();
        }
    }
}

#[test]
fn the_driver_is_unloaded_under_load_and_loaded_again() {
    for version in NdisVersion::ALL {
        for processors in 1..=4 {
            let wire = Wire::new(version, processors, &[(0, 1), (1, 0)]);
            let peers = [wire.peer(0), wire.peer(1)];
            let loads = [wire.load(&peers[0]), wire.load(&peers[1])];
            loads.iter().for_each(|load| load.pass(80));
            let machine = wire.lab.machine().clone();
            wire.finish();
            loads.into_iter().for_each(|load| {
                load.stop();
            });
            drop(peers);
            // The same machine takes it again.
            let value = match version {
                NdisVersion::V6_1 => 610,
                NdisVersion::V6_20 => 620,
                NdisVersion::V6_30 => 630,
            };
            load_and_unload(&machine, value);
        }
    }
}

fn load_and_unload(machine: &std::sync::Arc<Machine>, version: u32) {
    let package = Package::new(Inf::load(&inf()).unwrap(), HARDWARE_ID)
        .parameter("NdisVersion", RegValue::Dword(version));
    let loaded =
        Miniport::load(machine, &driver(), package).unwrap_or_else(|error| panic!("{error}"));
    let adapter = loaded
        .add_adapter(config(0))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(adapter.state(), AdapterState::Running);
    let leaks = loaded.unload().unwrap_or_else(|error| panic!("{error}"));
    assert!(leaks.is_clean(), "{leaks}");
    assert!(machine.report().is_clean(), "{}", machine.report());
}

/// A ring of adapters, each of which sends to the next, while every other one is interrupted.
#[test]
fn many_adapters_carry_traffic_while_some_are_interrupted() {
    const COUNT: usize = 16;
    let pairs: Vec<_> = (0..COUNT).map(|i| (i, (i + 2) % COUNT)).collect();
    let wire = Wire::new(NdisVersion::V6_20, 4, &pairs);
    let peers: Vec<_> = (0..COUNT).map(|index| wire.peer(index)).collect();
    let all: Vec<_> = peers.iter().collect();
    load_and_run(&wire, &all, |loads| {
        for (i, peer) in peers.iter().enumerate().filter(|(i, _)| i % 2 == 1) {
            Event::ALL[i / 2 % 4].happen(peer);
            loads[i].pass(12);
        }
    });
    let arrivals: Vec<_> = peers.iter().map(|peer| wire.arrivals(peer)).collect();
    // The even ones send among themselves: nothing of theirs is lost.
    for (i, peer) in peers.iter().enumerate().filter(|(i, _)| i % 2 == 0) {
        let sender = &peers[(i + COUNT - 2) % COUNT];
        let sent = sender.listener.succeeded.load(Ordering::Acquire);
        assert_eq!(sender.listener.unsent(), 0);
        let lost = peer.counter(OID_GEN_RCV_NO_BUFFER);
        assert_eq!(total(&arrivals[i]) + lost, sent, "adapter {i}");
    }
    drop(peers);
    wire.finish();
}

#[test]
fn adapters_start_and_stop_in_rapid_succession() {
    let wire = Wire::new(NdisVersion::V6_30, 3, &[(0, 1)]);
    let [a, b] = [wire.peer(0), wire.peer(1)];
    let mut sent = load_and_run(&wire, &[&a], |loads| {
        for round in 0..100 {
            let config = config(2).keyword("*ReceiveBuffers", "32");
            let config = if round % 2 == 0 {
                config
            } else {
                config.paused()
            };
            let adapter = wire.lab.driver().add_adapter(config).unwrap();
            match round % 3 {
                0 => adapter.halt().unwrap(),
                1 => adapter.surprise_remove().unwrap(),
                _ => {
                    adapter.reset().unwrap();
                    adapter.halt().unwrap();
                }
            }
            loads[0].pass(2);
        }
    });
    sent -= b.counter(OID_GEN_RCV_NO_BUFFER);
    assert_eq!(total(&wire.arrivals(&b)), sent);
    drop((a, b));
    wire.finish();
}

/// NDIS with task offload switched off: OID_OFFLOAD_ENCAPSULATION never comes, and no SA either. The
/// adapter is an Ethernet adapter, and IPsec packets are packets.
#[test]
fn without_task_offload_it_is_an_ethernet_adapter() {
    for version in NdisVersion::ALL {
        let wire = Wire::new(version, 2, &[(0, 1), (1, 0)]);
        let [a, b] = [0, 1].map(|index| wire.bare_peer(index, config(index)));
        let sent = load_and_run(&wire, &[&a, &b], |_| {
            for event in Event::ALL {
                event.happen(&a);
            }
        });
        assert!(sent > 0);
        for peer in [&a, &b] {
            let arrivals = wire.arrivals(peer);
            assert_eq!(arrivals.keys().copied().collect::<Vec<_>>(), ["clear"]);
        }
        // What software has sealed passes as it is.
        for (index, flow) in wire
            .flows
            .0
            .iter()
            .enumerate()
            .filter(|(_, flow)| !flow.sas().is_empty())
        {
            if wire.route(index) != (0, 1) {
                continue;
            }
            let sealed = tcpip::outbound::seal_in_software(&flow.outgoing(0), flow.sas()).unwrap();
            wire.note_sent();
            a.port
                .send(vec![
                    SendNbl::new(sealed).cookie(ipsecov2_tests::ledger::cookie(index, 0)),
                ])
                .unwrap();
        }
        let arrivals = wire.arrivals(&b);
        assert_eq!(arrivals, Arrivals::from([("untouched", FLOWS as u64 - 1)]));
        let statuses = wire.statuses();
        assert!(
            names(&statuses)
                .iter()
                .all(|name| !name.contains("FAILURE")),
            "{statuses:?}"
        );
        drop((a, b));
        wire.finish();
    }
}

/// The Advanced page restarts the adapter with another value, while the others run.
#[test]
fn keywords_change_while_other_adapters_carry_traffic() {
    let wire = Wire::new(NdisVersion::V6_20, 3, &[(0, 1), (1, 0), (2, 0)]);
    let [a, b] = [wire.peer(0), wire.peer(1)];
    let loads = [wire.load(&a), wire.load(&b)];
    for (keyword, value, mtu, esp, ah) in [
        ("*JumboPacket", "9014", 9000, 1, 1),
        ("*JumboPacket", "1514", 1500, 1, 1),
        ("*IPsecOffloadV2", "0", 1500, 0, 0),
        ("*IPsecOffloadV2", "1", 1500, 0, 1),
        ("*IPsecOffloadV2", "2", 1500, 1, 0),
        ("*PriorityVLANTag", "0", 1500, 1, 1),
        ("VlanID", "0", 1500, 1, 1),
        ("*ReceiveBuffers", "4096", 1500, 1, 1),
        ("*ReceiveBuffers", "32", 1500, 1, 1),
        ("SaOffloadCapacity", "1", 1500, 1, 1),
        ("LegacyAlgorithms", "1", 1500, 1, 1),
    ] {
        let third = wire.bare_peer(2, config(2).keyword(keyword, value));
        assert_eq!(third.port.adapter.mac(), mac(2));
        assert_eq!(third.port.adapter.mtu(), mtu, "{keyword} = {value}");
        let offloads = third.port.adapter.offloads();
        let offers = offloads.default_config().unwrap().ipsec_v2();
        assert_eq!((offers.Esp, offers.Ah), (esp, ah), "{keyword} = {value}");
        let load = wire.load(&third);
        load.pass(40);
        load.stop();
        third.port.adapter.halt().unwrap();
        loads.iter().for_each(|load| load.pass(20));
    }
    let [from_a, from_b] = loads.map(Load::stop);
    let lost = [&a, &b].map(|peer| peer.counter(OID_GEN_RCV_NO_BUFFER));
    assert_eq!(total(&wire.arrivals(&b)) + lost[1], from_a);
    let statuses = wire.statuses();
    assert_eq!(names(&statuses), ["NDIS_STATUS_SUCCESS"]);
    let third = statuses[&NDIS_STATUS_SUCCESS] - from_a - from_b;
    assert_eq!(total(&wire.arrivals(&a)) + lost[0], from_b + third);
    drop((a, b));
    wire.finish();
}
