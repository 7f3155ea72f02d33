//! Which SA a packet gets, and where keys and captures come from.

use std::{fs, net::IpAddr};

use tcpip::{
    algorithm::Encryption,
    capture::{Capture, Packet, Timestamp},
    outbound::Sender,
    packet::Layout,
    policy::{Clear, Keys, Offers, make_sas, outbound_sa},
    sas::{Sa, SaFile, Spi},
    synthetic,
};

/// A UDP packet between hosts 192.0.2.`source` and 192.0.2.`destination`.
fn between(source: u8, destination: u8) -> Vec<u8> {
    let mut frame = synthetic::udp_v4(60).unwrap();
    (frame[29], frame[33]) = (source, destination);
    frame
}

fn sas_of(frames: &[Vec<u8>], offers: &Offers) -> Vec<Sa> {
    let frames = frames.iter().map(Vec::as_slice);
    make_sas(frames, offers, Encryption::AesGcm192, 12, Keys::Seed(1))
        .unwrap()
        .sas
}

#[test]
fn one_sa_per_pair_in_order_of_appearance() {
    let frames = [
        between(1, 2),
        between(2, 1),
        between(1, 2),
        between(1, 3),
        synthetic::udp_v6(60).unwrap(),
    ];
    let sas = sas_of(&frames, &Offers::EVERYTHING);
    let names: Vec<_> = sas.iter().map(|sa| sa.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "192.0.2.1 > 192.0.2.2",
            "192.0.2.2 > 192.0.2.1",
            "192.0.2.1 > 192.0.2.3",
            "2001:db8::1 > 2001:db8::2"
        ]
    );
    let pairs: Vec<_> = sas.iter().map(|sa| sa.pair.as_deref()).collect();
    assert_eq!(pairs, [Some(names[1]), Some(names[0]), None, None]);
    for (index, sa) in sas.iter().enumerate() {
        let esp = sa.esp.as_ref().unwrap();
        assert_eq!(esp.spi, Spi(0x1000_0001 + index as u32));
        assert_eq!(
            (esp.encryption.key.len(), esp.encryption.salt.len()),
            (24, 4)
        );
        assert_eq!(esp.icv_len(), 12);
        let twins = sas
            .iter()
            .filter(|other| other.esp.as_ref().unwrap().encryption == esp.encryption);
        assert_eq!(twins.count(), 1, "keys differ");
    }
    // The file that is written is one that is read.
    let file = SaFile::new(sas, "test");
    assert_eq!(SaFile::parse(&file.to_json().unwrap()).unwrap(), file);
}

#[test]
fn spis_of_the_capture_are_left_alone() {
    let mut foreign = between(9, 8);
    foreign[23] = 50;
    foreign[34..38].copy_from_slice(&0x1000_0001_u32.to_be_bytes());
    let sas = sas_of(&[foreign, between(1, 2)], &Offers::EVERYTHING);
    assert_eq!(sas.len(), 1);
    assert_eq!(sas[0].esp.as_ref().unwrap().spi, Spi(0x1000_0002));
}

#[test]
fn no_more_sas_than_the_adapter_takes() {
    let offers = Offers {
        capacity: 2,
        ..Offers::EVERYTHING
    };
    let frames = [between(1, 2), between(1, 3), between(1, 4)];
    let sas = sas_of(&frames, &offers);
    assert_eq!(sas.len(), 2);
    let mut sender = Sender::new(&sas, offers);
    let protections: Vec<_> = frames
        .iter()
        .map(|frame| sender.prepare(1, frame).unwrap().protection.map(|p| p.sa()))
        .collect();
    assert_eq!(protections, [Ok(0), Ok(1), Err(Clear::NoSa)]);
}

#[test]
fn the_first_sa_that_takes_a_packet_has_it() {
    let file = SaFile::parse(
        r#"{ "version": 1, "sas": [
        { "name": "inbound only", "ip_version": 4, "direction": "inbound",
          "esp": { "spi": 1, "encryption": { "algorithm": "null" } } },
        { "name": "six", "ip_version": 6, "esp": { "spi": 2, "encryption": { "algorithm": "null" } } },
        { "name": "selected", "source": "10.0.0.1", "destination": "10.0.0.2", "mode": "tunnel",
          "selector": { "source": "192.0.2.0/30", "destination": "192.0.2.7/32" },
          "esp": { "spi": 3, "encryption": { "algorithm": "null" } } },
        { "name": "from one", "source": "192.0.2.1",
          "esp": { "spi": 4, "encryption": { "algorithm": "null" } } },
        { "name": "any", "ip_version": 4, "esp": { "spi": 5, "encryption": { "algorithm": "null" } } } ] }"#,
    )
    .unwrap();
    let chosen = |frame: &[u8]| {
        let layout = Layout::of(frame).unwrap();
        file.sas[outbound_sa(&file.sas, &layout).unwrap()]
            .name
            .as_str()
    };
    assert_eq!(chosen(&between(1, 7)), "selected");
    assert_eq!(chosen(&between(1, 8)), "from one");
    assert_eq!(chosen(&between(9, 7)), "any");
    assert_eq!(chosen(&synthetic::udp_v6(60).unwrap()), "six");
}

#[test]
fn sequence_numbers_end_where_they_must() {
    let frame = between(1, 2);
    let mut sas = sas_of(std::slice::from_ref(&frame), &Offers::EVERYTHING);
    let sequence_of = |sas: &[Sa]| {
        let mut sender = Sender::new(sas, Offers::EVERYTHING);
        let mut next = || {
            sender
                .prepare(1, &frame)
                .map(|out| out.protection.unwrap().esp().unwrap().sequence)
        };
        [next().ok(), next().ok(), next().ok()]
    };
    let esp = sas[0].esp.as_mut().unwrap();
    (esp.sequence, esp.sequence_high) = (u32::MAX - 1, 0);
    let end = u64::from(u32::MAX);
    assert_eq!(sequence_of(&sas), [Some(end - 1), Some(end), None]);
    sas[0].esp.as_mut().unwrap().esn = true;
    assert_eq!(sequence_of(&sas), [Some(end - 1), Some(end), Some(end + 1)]);
    sas[0].esp.as_mut().unwrap().sequence_high = u32::MAX;
    assert_eq!(
        sequence_of(&sas),
        [Some(u64::MAX - 1), Some(u64::MAX), None]
    );
}

#[test]
fn captures_are_kept_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // Big endian, nanoseconds, a packet cut by a snapshot length that is shorter than the packet.
    let mut bytes = vec![0xA1, 0xB2, 0x3C, 0x4D, 0, 2, 0, 4];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[0, 0, 0, 64, 0, 0, 0, 1]);
    bytes.extend_from_slice(&[
        0, 0, 0, 9, 0x3B, 0x9A, 0xC9, 0xFF, 0, 0, 0, 64, 0, 0, 5, 0xDC,
    ]);
    bytes.extend_from_slice(&[0x42; 64]);
    fs::write(path("in.pcap"), &bytes).unwrap();
    let capture = Capture::read(&path("in.pcap")).unwrap();
    let [packet] = capture.packets.as_slice() else {
        panic!("one packet")
    };
    assert_eq!(
        packet.timestamp,
        Timestamp {
            seconds: 9,
            fraction: 999_999_999
        }
    );
    assert_eq!((packet.original_len, packet.frame.len()), (1500, 64));
    let same = capture.with_packets(capture.packets.clone());
    same.write(&path("out.pcap")).unwrap();
    assert_eq!(fs::read(path("out.pcap")).unwrap(), bytes);

    // Frames of the wire are longer than what was captured.
    let mut wire = capture.like();
    wire.packets
        .push(Packet::new(packet.timestamp, vec![1; 9014]));
    wire.write(&path("wire.pcap")).unwrap();
    assert_eq!(
        Capture::read(&path("wire.pcap")).unwrap().packets,
        wire.packets
    );

    let refused = |bytes: &[u8], word: &str| {
        fs::write(path("bad"), bytes).unwrap();
        let error = format!("{:#}", Capture::read(&path("bad")).unwrap_err());
        assert!(error.contains(word), "{error}");
    };
    refused(&[0x0A, 0x0D, 0x0D, 0x0A, 28, 0, 0, 0], "pcapng");
    refused(
        b"not a capture at all, by far",
        "expected a classic pcap file",
    );
    let mut raw_ip = bytes.clone();
    raw_ip[23] = 101;
    refused(&raw_ip, "Ethernet");
    refused(&bytes[..bytes.len() - 1], "packet 1");
}

#[test]
fn a_packet_without_a_source_has_no_sa() {
    let mut frame = synthetic::udp_v6(60).unwrap();
    frame[22..38].fill(0);
    let layout = Layout::of(&frame).unwrap();
    assert_eq!(layout.source, IpAddr::from([0u8; 16]));
    let outgoing = Sender::new(&[], Offers::EVERYTHING)
        .prepare(1, &frame)
        .unwrap();
    assert_eq!(outgoing.protection, Err(Clear::Multicast));
}
