//! CheckConnectivity with AutoFail: once the adapters run, every allocation and every other call that may
//! fail does so at random, while packets with SAs flow, SAs come and go, and adapters are paused, reset and
//! put to sleep. Each packet is completed with a documented status, and each that comes up is right.

use std::{collections::BTreeMap, time::Duration};

use ipsecov2_tests::{
    flow::{Came, Flow, Flows},
    kinds::Kind,
    lab_options,
};
use ndis_sim::ndis::{AdapterConfig, Error, PowerState};
use ndis_sys::*;
use tcpip::{
    lab::{HARDWARE_ID, Lab, NdisVersion, PATIENCE, Port, status_name},
    offload::{Handle, Way},
    recorder::Recorder,
    split::Split,
};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const ROUNDS: u64 = 12;

/// Every kind but large sends, of which a part can go out: see `fault_injection.rs`.
fn flows() -> Flows {
    let mut kinds = Kind::usual();
    kinds.retain(|kind| !matches!(kind, Kind::Large | Kind::LargeSealed(..)));
    let flow = |(kind, id): (Kind, u32)| kind.flow(id, A, B, id.is_multiple_of(2), 1200);
    Flows(kinds.into_iter().zip(0..).map(flow).collect())
}

fn offload(port: &Port, flows: &Flows, way: Way) -> Vec<Vec<Handle>> {
    let add = |flow: &Flow| {
        let sas: Vec<_> = flow.sas().iter().collect();
        let added = port.add_sas(&sas, way).unwrap().into_iter();
        added.map(|handle| handle.unwrap()).collect()
    };
    flows.0.iter().map(add).collect()
}

/// What happened to packets while calls failed.
#[derive(Debug, Default)]
struct Seen {
    statuses: BTreeMap<String, u64>,
    came: BTreeMap<String, u64>,
}

struct Traffic {
    flows: Flows,
    a: Port,
    b: Port,
    a_side: std::sync::Arc<Recorder>,
    b_side: std::sync::Arc<Recorder>,
    handles: Vec<Vec<Handle>>,
    next: u64,
}

impl Traffic {
    /// Sends a few packets of each flow, and judges what became of them.
    fn flow(&mut self, lab: &Lab, seen: &mut Seen) {
        let mut packets = Vec::new();
        for number in self.next..self.next + 5 {
            packets.extend((0..self.flows.0.len()).map(|flow| (flow, number)));
        }
        self.next += 5;
        let lists = packets.iter().zip(0..).map(|(&(flow, number), cookie)| {
            let handles = &self.handles[flow];
            self.flows.0[flow].nbl(number, handles, Split::Headers, false, cookie)
        });
        self.a.send(lists.collect()).unwrap();
        let completed = self.a_side.take_completed(packets.len(), PATIENCE);
        assert_eq!(
            completed.len(),
            packets.len(),
            "not every send is completed"
        );
        lab.machine().settle().unwrap();

        let mut out = vec![None; packets.len()];
        for done in completed {
            assert!(
                out[done.cookie as usize].replace(done.status).is_none(),
                "twice"
            );
            assert!(
                [NDIS_STATUS_SUCCESS, NDIS_STATUS_RESOURCES].contains(&done.status),
                "{}",
                status_name(done.status)
            );
            *seen.statuses.entry(status_name(done.status)).or_default() += 1;
        }
        let mut expected = packets
            .into_iter()
            .zip(out)
            .filter(|(_, status)| *status == Some(NDIS_STATUS_SUCCESS))
            .map(|(packet, _)| packet);
        for indicated in self.b_side.take_received(usize::MAX, Duration::ZERO) {
            let (flow, number, came) = self.flows.judge(&indicated).unwrap();
            assert_eq!(
                Some((flow, number)),
                expected.next(),
                "lost, or out of order"
            );
            match came {
                Came::Clear | Came::Verified | Came::Untouched => {}
                other => panic!("packet {number} of flow {flow}: {other:?}"),
            }
            *seen.came.entry(format!("{came:?}")).or_default() += 1;
        }
        assert_eq!(expected.next(), None, "sent, and did not come up");
    }
}

/// SAs that no packet uses come and go; there may be no memory for them.
fn churn(port: &Port, round: u64, way: Way) -> usize {
    let mut refused = 0;
    for (kind, id) in Kind::usual().into_iter().zip(1000..) {
        let flow = kind.flow(id, A, B, round.is_multiple_of(2), 0);
        for sa in flow.sas() {
            match &port.add_sas(&[sa], way).unwrap()[0] {
                Ok(handle) => port.delete_sas(&[*handle]).unwrap(),
                Err(reason) => {
                    assert_eq!(reason.status, NDIS_STATUS_RESOURCES, "{reason}");
                    refused += 1;
                }
            }
        }
    }
    refused
}

/// Another adapter tries to start; what it cannot have it does without, or it does not start.
fn start_another(lab: &Lab) -> bool {
    let config = AdapterConfig::new(HARDWARE_ID).keyword("*ReceiveBuffers", "32");
    match lab.driver().add_adapter(config) {
        Ok(adapter) => {
            adapter.halt().unwrap();
            true
        }
        Err(Error::Status(status)) => {
            let expected = [NDIS_STATUS_RESOURCES, NDIS_STATUS_FAILURE];
            assert!(expected.contains(&status), "{}", status_name(status));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn connectivity_survives_random_failures() {
    for (seed, version) in (1..).zip(NdisVersion::ALL) {
        for probability in [0.01, 0.1, 0.5] {
            let lab = Lab::start(&lab_options(version)).unwrap();
            let [a_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
            let start = |mac, recorder: &std::sync::Arc<Recorder>| {
                let config = AdapterConfig::new(HARDWARE_ID).mac(mac);
                let port = lab.port_with(config, recorder.clone()).unwrap();
                port.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED).unwrap();
                port.activate_offload().unwrap();
                port
            };
            let (a, b) = (start(A, &a_side), start(B, &b_side));
            let flows = flows();
            let handles = offload(&a, &flows, Way::Outbound);
            let inbound = offload(&b, &flows, Way::Inbound);
            let mut traffic = Traffic {
                flows,
                a,
                b,
                a_side,
                b_side,
                handles,
                next: 0,
            };

            lab.machine().faults().fail_randomly(seed, probability);
            let mut seen = Seen::default();
            let (mut refused, mut started) = (0, 0);
            for round in 0..ROUNDS {
                traffic.flow(&lab, &mut seen);
                refused += churn(&traffic.a, round, Way::Outbound);
                refused += churn(&traffic.b, round, Way::Inbound);
                started += u32::from(start_another(&lab));
                for adapter in [&traffic.a.adapter, &traffic.b.adapter] {
                    match round % 3 {
                        0 => {
                            adapter.pause().unwrap();
                            adapter.restart().unwrap();
                        }
                        1 => adapter.reset().unwrap(),
                        _ => {
                            adapter.set_power(PowerState::D3).unwrap();
                            adapter.set_power(PowerState::D0).unwrap();
                        }
                    }
                }
            }
            let failures = lab.machine().faults().failures();
            lab.machine().faults().clear();
            let about = format!("{version}, p = {probability}: {failures} failures, {seen:?}");
            assert!(failures > 0, "{about}");
            if probability > 0.05 {
                assert!(
                    seen.statuses.contains_key("NDIS_STATUS_RESOURCES"),
                    "{about}"
                );
                assert!(seen.came.contains_key("Verified"), "{about}");
                assert!(refused > 0, "{about}");
                assert_eq!(
                    started, 0,
                    "{about}: nobody gets through a hundred allocations"
                );
            }

            // Once it has stopped, everything is as it was.
            let mut after = Seen::default();
            traffic.flow(&lab, &mut after);
            assert_eq!(after.statuses.len(), 1, "{after:?}");
            let sealed = traffic.flows.0.iter().filter(|flow| !flow.sas().is_empty());
            let verified = sealed.count() as u64 * 5;
            assert_eq!(after.came.get("Verified"), Some(&verified), "{after:?}");
            assert_eq!(churn(&traffic.b, 0, Way::Inbound), 0);
            assert!(start_another(&lab));
            let Traffic { a, b, handles, .. } = traffic;
            a.delete_sas(&handles.concat()).unwrap();
            b.delete_sas(&inbound.concat()).unwrap();
            drop((a, b));
            lab.finish().unwrap();
        }
    }
}
