//! What happens when KeSaveExtendedProcessorState fails: nothing of the burst's crypto runs, nothing
//! leaves in clear, nothing is lost.

use std::time::Duration;

use ipsecov2_tests::{adapter::TestAdapter, lab_options};
use ndis_sim::ndis::SendNbl;
use ndis_sys::{NDIS_PACKET_TYPE_PROMISCUOUS, NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS};
use tcpip::{
    algorithm::Encryption,
    lab::{Lab, NdisVersion, PATIENCE, net_buffer_list},
    offload::Way,
    outbound::{Sender, seal_in_software},
    policy::{Keys, Offers, make_sas},
    recorder::Recorder,
    sas::SaFile,
    split::Split,
    synthetic,
};

const SAVE: &str = "KeSaveExtendedProcessorState";

fn sas(frames: &[Vec<u8>]) -> SaFile {
    let frames = frames.iter().map(Vec::as_slice);
    make_sas(
        frames,
        &Offers::EVERYTHING,
        Encryption::AesGcm256,
        16,
        Keys::Seed(3),
    )
    .unwrap()
}

#[test]
fn sends_fail_and_receives_go_up_as_they_came() {
    for version in NdisVersion::ALL {
        let frames = [
            synthetic::udp_v4(300).unwrap(),
            synthetic::udp_v6(500).unwrap(),
        ];
        let file = sas(&frames);
        let lab = Lab::start(&lab_options(version)).unwrap();
        let [a_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
        let a = lab.port(1514, a_side.clone()).unwrap();
        let b = lab.port(1514, b_side.clone()).unwrap();
        b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS).unwrap();
        a.activate_offload().unwrap();
        b.activate_offload().unwrap();
        let outbound = a.offload(&file.sas, Way::Outbound).unwrap();
        let inbound = b.offload(&file.sas, Way::Inbound).unwrap();
        let mut sender = Sender::new(&file.sas, Offers::EVERYTHING);
        let outgoing = [
            sender.prepare(1, &frames[0]).unwrap(),
            sender.prepare(2, &frames[1]).unwrap(),
        ];

        // Sends with an SA fail; one without goes out in the same chain, as it is.
        let clear = [&frames[0][..12], &[0x88, 0xb5], &frames[0][14..]].concat();
        let faults = lab.machine().faults();
        faults.fail_if(|name, _| name == SAVE);
        a.send(vec![
            net_buffer_list(&outgoing[0], &outbound, Split::Headers).unwrap(),
            SendNbl::new(clear.clone()),
            net_buffer_list(&outgoing[1], &outbound, Split::Headers).unwrap(),
        ])
        .unwrap();
        let statuses = a_side.take_completed(3, PATIENCE);
        let mut statuses: Vec<_> = statuses.iter().map(|done| done.status).collect();
        statuses.sort_unstable();
        assert_eq!(
            statuses,
            [
                NDIS_STATUS_RESOURCES,
                NDIS_STATUS_RESOURCES,
                NDIS_STATUS_SUCCESS
            ]
        );
        let seen = b_side.take_received(1, PATIENCE);
        assert_eq!(seen[0].frame, clear);

        // A sealed packet comes up sealed, and says that nothing was done.
        let sealed = seal_in_software(&outgoing[0], &file.sas).unwrap();
        a.send(vec![SendNbl::new(sealed.clone())]).unwrap();
        let seen = b_side.take_received(1, PATIENCE);
        assert_eq!(seen[0].frame, sealed);
        assert!(!seen[0].stamp.crypto_done);
        assert_eq!(seen[0].stamp.status_name(), "CRYPTO_SUCCESS");
        faults.clear();

        // Afterwards everything works again.
        lab.machine().settle().unwrap();
        drop(a_side.take_completed(1, PATIENCE));
        a.send(vec![
            net_buffer_list(&outgoing[1], &outbound, Split::Headers).unwrap(),
        ])
        .unwrap();
        let seen = b_side.take_received(1, PATIENCE);
        assert!(seen[0].stamp.crypto_done);
        assert_eq!(b_side.take_received(1, Duration::ZERO), []);
        a.delete_sas(&outbound).unwrap();
        b.delete_sas(&inbound).unwrap();
        drop((a, b));
        lab.finish().unwrap();
    }
}

#[test]
fn no_sa_is_added() {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        let file = sas(&[synthetic::udp_v4(300).unwrap()]);
        let buffer = adapter.add_sa_buffer(&file.sas[0], Way::Inbound);
        adapter
            .lab
            .machine()
            .faults()
            .fail_if(|name, _| name == SAVE);
        let result = adapter.add(buffer.clone());
        adapter.lab.machine().faults().clear();
        assert_eq!(result.status, NDIS_STATUS_RESOURCES);
        assert_eq!(adapter.handle(&result), 0);
        let handle = adapter.add_one(&file.sas[0], Way::Inbound);
        assert_eq!(adapter.delete(&[handle]).status, NDIS_STATUS_SUCCESS);
        adapter.finish();
    }
}
