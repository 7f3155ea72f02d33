//! What the driver does when its callers have left little of the kernel stack.

use ipsecov2_tests::{
    adapter::TestAdapter,
    switch::{PATIENCE, Switch, check, frame},
};
use ndis_sim::{Irql, Machine, ndis::SendNbl};
use ndis_sys::*;
use tcpip::{
    algorithm::Encryption,
    lab::NdisVersion,
    offload::Way,
    policy::{Keys, Offers, make_sas},
    synthetic,
};

/// What the callers have taken of 24 KiB, and whether the rest is enough.
const TAKEN: [(usize, bool); 6] = [
    (0, true),
    (8 * 1024, true),
    (10 * 1024, true),
    (12 * 1024 + 1, false),
    (16 * 1024, false),
    (24 * 1024, false),
];

/// With room the call sends; without, the DPC does. Nothing else changes.
#[test]
fn sends_are_left_to_the_dpc() {
    for (taken, enough) in TAKEN {
        let switch = Switch::on(Machine::builder().processors(1).build(), 620);
        let (a, b) = (switch.port(), switch.port());
        b.filter(NDIS_PACKET_TYPE_DIRECTED);
        switch.machine.kernel().callers.take(taken);
        let frames: Vec<_> = (60..100)
            .map(|len| frame(b.adapter.mac(), a.adapter.mac(), len))
            .collect();
        let lists = frames.iter().cloned().map(SendNbl::new).collect();
        // At DISPATCH_LEVEL of the only processor, so that the DPC comes after the call.
        let (open, adapter) = (a.open.clone(), a.adapter.clone());
        let waiting = switch.machine.run(Some(0), Irql::DISPATCH, move || {
            check(open.send(lists));
            adapter.sends_outstanding()
        });
        let expected = if enough { 0 } else { frames.len() };
        assert_eq!(waiting.unwrap(), expected, "with {taken} bytes taken");
        let sent = check(
            a.protocol
                .wait_sent(&switch.machine, frames.len(), PATIENCE),
        );
        assert_eq!(sent.len(), frames.len());
        assert!(sent.iter().all(|list| list.status == NDIS_STATUS_SUCCESS));
        assert_eq!(b.received_bytes(), frames);
        switch.finish();
    }
}

/// An SA that is not offloaded is the transport's to do.
#[test]
fn no_sa_is_set_up() {
    let packets = [synthetic::udp_v4(100).unwrap()];
    let file = make_sas(
        packets.iter().map(Vec::as_slice),
        &Offers::EVERYTHING,
        Encryption::AesGcm128,
        16,
        Keys::Seed(4),
    )
    .unwrap();
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        for (taken, enough) in TAKEN {
            let callers = &adapter.port.open.machine().kernel().callers;
            callers.take(taken);
            let result = adapter.add(adapter.add_sa_buffer(&file.sas[0], Way::Inbound));
            if enough {
                assert_eq!(result.status, NDIS_STATUS_SUCCESS, "{taken} bytes taken");
                let handle = adapter.handle(&result);
                // Taking it back needs little.
                callers.take(20 * 1024);
                assert_eq!(adapter.delete(&[handle]).status, NDIS_STATUS_SUCCESS);
            } else {
                assert_eq!(result.status, NDIS_STATUS_RESOURCES, "{taken} bytes taken");
            }
        }
        adapter.finish();
    }
}
