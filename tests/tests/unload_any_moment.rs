//! The driver is paused, halted, removed or unloaded at any moment of traffic, with SAs added and
//! deleted meanwhile, and leaves nothing behind: every send is completed, every indication was
//! returned, nothing allocated remains (`Lab::finish` looks at the simulator's leak report).

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use ipsecov2_tests::lab_options;
use ndis_sys::{NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS};
use tcpip::{
    algorithm::Encryption,
    lab::{Lab, NdisVersion, Port, net_buffer_list},
    offload::Way,
    outbound::Sender,
    policy::{Keys, Offers, make_sas},
    recorder::Recorder,
    sas::SaFile,
    split::Split,
    synthetic,
};

/// What ends, or interrupts, the traffic.
#[derive(Clone, Copy, Debug)]
enum End {
    PauseAndRestart,
    Pause,
    HaltSender,
    HaltReceiver,
    RemoveSender,
    RemoveReceiver,
    Reset,
    Unload,
}

const ENDS: [End; 8] = [
    End::PauseAndRestart,
    End::Pause,
    End::HaltSender,
    End::HaltReceiver,
    End::RemoveSender,
    End::RemoveReceiver,
    End::Reset,
    End::Unload,
];

/// SAs for two flows: one carries the traffic, the other comes and goes.
fn sas() -> (SaFile, Vec<Vec<u8>>) {
    let frames = vec![
        synthetic::udp_v4(100).unwrap(),
        synthetic::udp_v4(1400).unwrap(),
        synthetic::udp_v6(600).unwrap(),
    ];
    let file = make_sas(
        frames.iter().map(Vec::as_slice),
        &Offers::EVERYTHING,
        Encryption::AesGcm128,
        16,
        Keys::Seed(9),
    )
    .unwrap();
    (file, frames)
}

/// Sends until told to stop. What NDIS does with sends to an adapter that does not run is not
/// the matter here, nor is a binding that has lost its adapter.
fn send_until(stop: &AtomicBool, port: &Port, handles: &[usize], sent: &AtomicUsize) {
    let (file, frames) = sas();
    let mut sender = Sender::new(&file.sas, Offers::EVERYTHING);
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        let chain = (0..8).map(|_| {
            number += 1;
            let frame = &frames[number % frames.len()];
            let outgoing = sender.prepare(number, frame).unwrap();
            net_buffer_list(&outgoing, handles, Split::Every(333)).unwrap()
        });
        if port.send(chain.collect()).is_err() {
            return;
        }
        sent.fetch_add(8, Ordering::Release);
    }
}

/// Adds and deletes SAs until told to stop, or until the adapter takes none any more.
fn churn_until(stop: &AtomicBool, port: &Port, way: Way) {
    let (mut file, _) = sas();
    for esp in file.sas.iter_mut().filter_map(|sa| sa.esp.as_mut()) {
        esp.spi.0 += 0x0100_0000;
    }
    while !stop.load(Ordering::Acquire) {
        let Ok(handles) = port.offload(&file.sas, way) else {
            return;
        };
        if port.delete_sas(&handles).is_err() {
            return;
        }
    }
}

fn act(end: End, lab: Lab, a: &Port, b: &Port) {
    match end {
        End::PauseAndRestart => {
            for adapter in [&a.adapter, &b.adapter] {
                adapter.pause().unwrap();
                adapter.restart().unwrap();
            }
        }
        End::Pause => {
            b.adapter.pause().unwrap();
            a.adapter.pause().unwrap();
        }
        End::HaltSender => a.adapter.halt().unwrap(),
        End::HaltReceiver => b.adapter.halt().unwrap(),
        End::RemoveSender => a.adapter.surprise_remove().unwrap(),
        End::RemoveReceiver => b.adapter.surprise_remove().unwrap(),
        End::Reset => {
            a.adapter.reset().unwrap();
            b.adapter.reset().unwrap();
        }
        End::Unload => {}
    }
    // Whatever happened before, now everything goes while packets still come.
    lab.finish().unwrap();
}

fn end_after(end: End, packets: usize, ndis_version: NdisVersion, processors: usize) {
    let mut options = lab_options(ndis_version);
    options.processors = processors;
    let lab = Lab::start(&options).unwrap();
    let [a_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
    let a = lab.port(2000, a_side).unwrap();
    let b = lab.port(2000, b_side).unwrap();
    a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED).unwrap();
    b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS).unwrap();
    a.activate_offload().unwrap();
    b.activate_offload().unwrap();
    let (file, _) = sas();
    let outbound = a.offload(&file.sas, Way::Outbound).unwrap();
    b.offload(&file.sas, Way::Inbound).unwrap();

    let stop = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| send_until(&stop, &a, &outbound, &sent));
        scope.spawn(|| churn_until(&stop, &a, Way::Outbound));
        scope.spawn(|| churn_until(&stop, &b, Way::Inbound));
        while sent.load(Ordering::Acquire) < packets {
            thread::sleep(Duration::from_micros(50));
        }
        act(end, lab, &a, &b);
        stop.store(true, Ordering::Release);
    });
}

#[test]
fn nothing_is_left_behind() {
    let mut round = 0;
    for end in ENDS {
        for packets in [0, 1, 9, 50, 200, 600] {
            let ndis_version = NdisVersion::ALL[round % 3];
            end_after(end, packets, ndis_version, 1 + round % 3);
            round += 1;
        }
    }
}

/// Adapters that never saw a packet, and a driver without adapters.
#[test]
fn nothing_is_left_behind_without_traffic() {
    for ndis_version in NdisVersion::ALL {
        let lab = Lab::start(&lab_options(ndis_version)).unwrap();
        lab.finish().unwrap();

        let lab = Lab::start(&lab_options(ndis_version)).unwrap();
        let recorder = Recorder::on(lab.machine());
        let port = lab.port(1514, recorder).unwrap();
        let (file, _) = sas();
        port.offload(&file.sas, Way::Inbound).unwrap();
        port.offload(&file.sas, Way::Outbound).unwrap();
        lab.finish().unwrap();
    }
}
