//! More processors than one group holds: 80, in groups of 64 and 16.

use ipsecov2_tests::switch::{PATIENCE, Switch, check, frame};
use ndis_sim::{
    Irql, Machine,
    ndis::{OidRequest, SendNbl, SendOptions},
};
use ndis_sys::{
    NDIS_PACKET_TYPE_DIRECTED, NDIS_STATUS_SUCCESS, OID_GEN_XMIT_OK,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, PROCESSOR_NUMBER,
};

const PROCESSORS: usize = 80;

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

/// A DELETE_SA of a handle that no SA has.
fn delete_of_nothing() -> Vec<u8> {
    tcpip::offload::delete_sa(&[0x7FFF_0000]).at(0)
}
