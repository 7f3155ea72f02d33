//! More processors than one group holds: 80, in groups of 64 and 16.

use ipsecov2_tests::{
    flow::{Came, Flows},
    kinds::Kind,
    lab_options,
    switch::{PATIENCE, Switch, check, frame},
};
use ndis_sim::{
    Irql, Machine,
    ndis::{AdapterConfig, OidRequest, SendNbl, SendOptions},
};
use ndis_sys::{
    NDIS_PACKET_TYPE_DIRECTED, NDIS_STATUS_SUCCESS, OID_GEN_XMIT_OK,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, PROCESSOR_NUMBER,
};

use tcpip::{
    algorithm::Encryption,
    lab::{HARDWARE_ID, Lab, NdisVersion, Port},
    offload::Way,
    plan::Shape,
    recorder::Recorder,
    split::Split,
};

const PROCESSORS: usize = 80;
const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn machine() -> std::sync::Arc<Machine> {
    Machine::builder().processors(PROCESSORS).build()
}

/// What the kernel tells a driver of its processors.
#[test]
fn the_simulated_kernel_has_two_groups() {
    type Count = extern "efiapi" fn(u64) -> u64;
    type Current = extern "efiapi" fn(*mut PROCESSOR_NUMBER) -> u64;
    extern "efiapi" fn look(count: Count, current: Current, out: *mut [u64; 6]) -> u64 {
        let mut number = PROCESSOR_NUMBER {
            Group: 9,
            Number: 9,
            Reserved: 9,
        };
        let index = current(&raw mut number);
        let counts = [count(0), count(1), count(0xFFFF)].map(|n| n & 0xFFFF_FFFF);
        // SAFETY: the test's array.
        unsafe {
            *out = [
                counts[0],
                counts[1],
                counts[2],
                index & 0xFFFF_FFFF,
                number.Group.into(),
                number.Number.into(),
            ];
        }
        0
    }
    let machine = machine();
    let import = |name| machine.resolve("ntoskrnl.exe", name).unwrap() as u64;
    let args = [
        import("KeQueryActiveProcessorCountEx"),
        import("KeGetCurrentProcessorNumberEx"),
    ];
    for (cpu, group, number) in [(0, 0, 0), (63, 0, 63), (64, 1, 0), (79, 1, 15)] {
        let seen = machine
            .run(Some(cpu), Irql::PASSIVE, move || {
                let mut seen = [0; 6];
                let args = [args[0], args[1], (&raw mut seen) as u64];
                // SAFETY: the function above, with its arguments.
                unsafe { ndis_sim::gate::call("TestCallback", look as *const (), &args) };
                seen
            })
            .unwrap();
        assert_eq!(seen, [64, 16, 80, cpu as u64, group, number]);
    }
}

#[test]
fn every_processor_of_either_group_sends_and_makes_requests() {
    let switch = Switch::on(machine(), 630);
    let (a, b) = (switch.port(), switch.port());
    a.filter(NDIS_PACKET_TYPE_DIRECTED);
    b.filter(NDIS_PACKET_TYPE_DIRECTED);
    let mut expected = Vec::new();
    for cpu in 0..PROCESSORS {
        let (from, to) = if cpu % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let mut bytes = frame(to.adapter.mac(), from.adapter.mac(), 64);
        bytes[20] = cpu as u8;
        let options = SendOptions {
            cpu: Some(cpu),
            ..SendOptions::default()
        };
        let list = SendNbl::new(bytes.clone()).prepare(&switch.machine);
        check(from.open.send_with(vec![list], options));
        let sent = check(from.protocol.wait_sent(&switch.machine, 1, PATIENCE));
        assert_eq!(sent[0].status, NDIS_STATUS_SUCCESS);
        let received = check(to.protocol.wait_received(&switch.machine, 1, PATIENCE));
        expected.push(received[0].data(0) == bytes);

        let nothing = OidRequest::set(OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, delete_of_nothing());
        let request = from.open.submit_direct_oid_on(cpu, nothing, Irql::DISPATCH);
        let result = check(check(request).wait(Some(PATIENCE))).expect("an answer");
        assert_eq!(result.status, NDIS_STATUS_SUCCESS);
    }
    assert_eq!(expected, [true; PROCESSORS]);
    let sent = a.counter(OID_GEN_XMIT_OK) + b.counter(OID_GEN_XMIT_OK);
    assert_eq!(sent, PROCESSORS as u64);
    check(a.adapter.pause());
    check(a.adapter.restart());
    drop((a, b));
    switch.finish();
}

/// Each processor has vector registers of its own to save, and a place in the SA table's and the sender's
/// tables: one packet of an SA is sealed on each, by a send at once or, where the number is too high for that,
/// from the queue, and an SA is added and deleted there.
#[test]
fn every_processor_of_either_group_seals_packets() {
    let machine = machine();
    let lab = Lab::on(machine.clone(), &lab_options(NdisVersion::V6_30)).expect("it loads");
    let [(a, a_side), (b, b_side)] = [A, B].map(|mac| {
        let side = Recorder::on(&machine);
        let config = AdapterConfig::new(HARDWARE_ID).mac(mac);
        let port = lab.port_with(config, side.clone()).expect("it starts");
        port.activate_offload().expect("offload is activated");
        (port, side)
    });
    b.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)
        .expect("it is set");
    let suite = Kind::Sealed(Shape::default(), Encryption::AesGcm256.into());
    let flows = Flows(vec![
        suite.flow(1, A, B, false, 600),
        suite.flow(2, A, B, true, 0),
    ]);
    let add = |port: &Port, flow: usize, way| {
        let added = port
            .add_sas(&[&flows.0[flow].sas()[0]], way)
            .expect("an answer");
        *added[0].as_ref().expect("an SA")
    };
    let handle = add(&a, 0, Way::Outbound);
    add(&b, 0, Way::Inbound);
    for cpu in 0..PROCESSORS {
        let list = flows.0[0].nbl(cpu as u64, &[handle], Split::Headers, true, cpu as u64);
        let options = SendOptions {
            cpu: Some(cpu),
            irql: [Irql::PASSIVE, Irql::DISPATCH][cpu % 2],
            ..SendOptions::default()
        };
        check(a.open.send_with(vec![list.prepare(&machine)], options));
        let delete = OidRequest::set(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
            tcpip::offload::delete_sa(&[add(&b, 1, Way::Inbound)]).at(0),
        );
        let request = check(b.open.submit_direct_oid_on(cpu, delete, Irql::DISPATCH));
        let deleted = check(request.wait(Some(PATIENCE))).expect("an answer");
        assert_eq!(deleted.status, NDIS_STATUS_SUCCESS);
    }
    let sent = a_side.take_completed(PROCESSORS, PATIENCE);
    assert!(sent.iter().all(|list| list.status == NDIS_STATUS_SUCCESS));
    let received = b_side.take_received(PROCESSORS, PATIENCE);
    let came: Vec<_> = received
        .iter()
        .map(|seen| flows.judge(seen).expect("it is one of them"))
        .collect();
    assert_eq!(came.len(), PROCESSORS);
    for (number, came) in came.into_iter().enumerate() {
        assert_eq!(came, (0, number as u64, Came::Verified));
    }
    drop((a, b));
    lab.finish().expect("nothing is left");
}

/// A DELETE_SA of a handle that no SA has.
fn delete_of_nothing() -> Vec<u8> {
    tcpip::offload::delete_sa(&[0x7FFF_0000]).at(0)
}
