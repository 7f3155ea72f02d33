//! Keys do not outlive their SAs: whatever the driver frees is searched for them.

use ipsecov2_tests::{adapter::TestAdapter, suites};
use ndis_sim::ndis::rules;
use tcpip::{
    lab::NdisVersion,
    offload::Way,
    policy::{Keys, Offers, make_sas},
    sas::Sa,
    synthetic,
};

/// The shortest run of key bytes that counts as found.
const RUN: usize = 16;

fn sas() -> Vec<Sa> {
    let frame = synthetic::udp_v4(64).unwrap();
    suites()
        .into_iter()
        .zip(1..)
        .flat_map(|(suite, seed)| {
            let frames = [frame.as_slice()].into_iter();
            let keys = Keys::Seed(seed);
            make_sas(frames, &Offers::EVERYTHING, suite, 16, keys)
                .unwrap()
                .sas
        })
        .collect()
}

fn keys(sas: &[Sa]) -> Vec<Vec<u8>> {
    let esp = sas.iter().filter_map(|sa| sa.esp.as_ref());
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for esp in esp {
        keys.push(esp.encryption.key.to_vec());
        keys.extend(esp.authentication.iter().map(|a| a.key.to_vec()));
    }
    let ah = sas.iter().filter_map(|sa| sa.ah.as_ref());
    keys.extend(ah.map(|ah| ah.authentication.key.to_vec()));
    keys.retain(|key| key.len() >= RUN);
    keys
}

fn watch(adapter: &TestAdapter, keys: Vec<Vec<u8>>) {
    adapter
        .lab
        .machine()
        .kernel()
        .pool
        .check_freed(move |block| {
            let found = keys
                .iter()
                .position(|key| block.windows(RUN).any(|bytes| *bytes == key[..RUN]))?;
            Some(format!(
                "key {found} is in a block of {} bytes that is freed",
                block.len()
            ))
        });
}

#[test]
fn what_is_freed_has_no_key_in_it() {
    let sas = sas();
    let keys = keys(&sas);
    assert!(keys.len() >= 10, "{}", keys.len());
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        watch(&adapter, keys.clone());
        let ways = [Way::Outbound, Way::Inbound];
        let handles: Vec<_> = sas
            .iter()
            .flat_map(|sa| ways.map(|way| adapter.add_one(sa, way)))
            .collect();
        // Half are deleted by request, the others go with the adapter.
        let (some, _) = handles.split_at(handles.len() / 2);
        adapter.delete(some);
        adapter.finish();
    }
}

/// The search finds a key where there is one: the driver frees the buffers of its frames when it
/// halts, and a frame that was received carried these bytes.
#[test]
fn the_search_finds_what_is_left() {
    let adapter = TestAdapter::start(NdisVersion::V6_30);
    let secret: Vec<u8> = (0..RUN as u8).map(|b| b ^ 0xA7).collect();
    watch(&adapter, vec![secret.clone()]);
    let other = adapter
        .lab
        .port(1514, adapter.recorder.clone())
        .expect("a second adapter");
    let mac = adapter.port.adapter.mac();
    let mut frame = ipsecov2_tests::switch::frame(mac, other.adapter.mac(), 100);
    frame[40..40 + RUN].copy_from_slice(&secret);
    other
        .open
        .send(vec![ndis_sim::ndis::SendNbl::new(frame)])
        .unwrap();
    adapter.lab.machine().settle().unwrap();
    let machine = adapter.lab.machine().clone();
    // Halting stops the machine; what the laboratory would say of it does not matter.
    let _ = adapter.port.adapter.halt();
    let check = machine.bug_check().expect("the search finds the bytes");
    assert_eq!(check.rule(), rules::FREED_SECRET, "{check}");
}
