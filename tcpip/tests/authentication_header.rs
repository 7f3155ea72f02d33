//! Software's AH: against packets of scapy, and by what may and may not change on the way.

use std::{fs, path::Path};

use tcpip::{
    algorithm::Authentication,
    places::Places,
    sas::{Ah, AuthenticationKey, Mode, Sa, SaFile, Spi},
    software::{Highs, Software, SoftwareError},
    unframe::unframe,
};

fn sa(algorithm: Authentication, key: Vec<u8>, esn: bool, six: bool, mode: Mode) -> Sa {
    let text = format!(
        r#"{{ "version": 1, "sas": [ {{ "name": "ah", "ip_version": {}, "ah": {{ "spi": 1,
             "authentication": {{ "algorithm": "hmac-sha-1-96", "key": "" }} }} }} ] }}"#,
        if six { 6 } else { 4 }
    );
    let mut sa = SaFile::parse(&text).unwrap().sas.remove(0);
    sa.mode = mode;
    sa.ah = Some(Ah {
        spi: Spi(0x0102_0304),
        authentication: AuthenticationKey {
            algorithm,
            key,
            salt: vec![7; algorithm.salt_len()],
        },
        esn,
        sequence: 1,
        sequence_high: 0,
    });
    sa
}

fn linked(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let six = packet[0] >> 4 == 6;
    frame.extend_from_slice(if six { &[0x86, 0xDD] } else { &[8, 0] });
    frame.extend_from_slice(packet);
    frame
}

/// An AH packet of scapy's.
struct Vector {
    name: String,
    sa: Sa,
    high: u32,
    frame: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/scapy-ah.txt");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let vectors: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let [name, algorithm, key, esn, _sequence, mode, packet] = fields[..] else {
                panic!("{line}")
            };
            let algorithm = match algorithm {
                "HMAC-MD5-96" => Authentication::HmacMd5,
                "HMAC-SHA1-96" => Authentication::HmacSha1,
                "SHA2-256-128" => Authentication::HmacSha256,
                other => panic!("{other}"),
            };
            let frame = linked(&hex::decode(packet).unwrap());
            let mode = match mode {
                "transport" => Mode::Transport,
                _ => Mode::Tunnel,
            };
            let six = frame[14] >> 4 == 6;
            Vector {
                name: name.to_owned(),
                sa: sa(algorithm, hex::decode(key).unwrap(), esn != "-", six, mode),
                high: u32::from_str_radix(esn, 16).unwrap_or(0),
                frame,
            }
        })
        .collect();
    assert!(vectors.len() > 60);
    vectors
}

#[test]
fn packets_of_scapy_are_authentic() {
    for vector in vectors() {
        let software = Software::new(&vector.sa).unwrap();
        let mut frame = vector.frame.clone();
        let opened = software.open(&mut frame, 14, vector.high);
        assert!(opened.is_ok(), "{}: {opened:?}", vector.name);
        assert_eq!(frame, vector.frame, "AH hides nothing");
        let plain = unframe(&frame, &vector.sa).unwrap();
        assert_eq!(plain.ah.unwrap().spi, 0x0102_0304);
        if vector.sa.ah.as_ref().unwrap().esn {
            let other = software.open(&mut frame, 14, vector.high ^ 1);
            assert_eq!(other, Err(SoftwareError::Icv("AH")), "{}", vector.name);
        }
    }
}

/// RFC 4302 section 3.3.3.1, bit by bit: of the fixed IP header exactly the mutable fields may
/// change, of AH and its payload nothing.
#[test]
fn only_mutable_fields_may_change() {
    for vector in vectors() {
        if !["v4", "v6"].contains(&vector.name.as_str()) {
            continue;
        }
        let software = Software::new(&vector.sa).unwrap();
        let mutable = |at: usize, bit: u8| match (vector.frame[14] >> 4, at - 14) {
            (4, 1 | 6 | 7 | 8 | 10 | 11) => true,
            (6, 0) => bit < 4,
            (6, 1..=3 | 7) => true,
            _ => false,
        };
        for at in 14..vector.frame.len() {
            for bit in 0..8 {
                let mut frame = vector.frame.clone();
                frame[at] ^= 1 << bit;
                let opened = software.open(&mut frame, 14, vector.high);
                assert_eq!(
                    opened.is_ok(),
                    mutable(at, bit),
                    "{}, byte {at}, bit {bit}",
                    vector.name
                );
            }
        }
    }
}

/// A packet with a source route or routing header that is under way has the ICV that it has at its
/// end.
#[test]
fn routes_count_as_they_end() {
    let key = vec![1; 20];
    let sealed = |packet: &[u8], sa: &Sa| {
        let mut frame = linked(packet);
        let high = Highs::default();
        let software = Software::new(sa).unwrap();
        let places = Places::find(&frame, 14, sa).unwrap();
        let icv = places.ah.unwrap().icv;
        let portion = tcpip::protection::Portion {
            sa: 0,
            ip: 14,
            ah: Some(tcpip::protection::AhPortion {
                at: icv.start - 12,
                sequence: 5,
            }),
            esp: None,
            payload: icv.end,
            trailer_len: 0,
        };
        software.seal(&mut frame, &portion, None).unwrap();
        software.open(&mut frame, 14, high).unwrap();
        frame[icv].to_vec()
    };
    let ah = |next: u8| {
        let mut header = vec![next, 4, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5];
        header.extend_from_slice(&[0; 12]);
        header
    };

    // IPv4: two hops to go, and arrived. The option itself is mutable as a whole.
    let four = sa(
        Authentication::HmacSha1,
        key.clone(),
        false,
        false,
        Mode::Transport,
    );
    let v4 = |destination: [u8; 4], option: [u8; 12]| {
        let mut packet = vec![0x48, 0, 0, 60, 0, 1, 0, 0, 64, 51, 0, 0, 192, 0, 2, 1];
        packet.extend_from_slice(&destination);
        packet.extend_from_slice(&option);
        packet.extend_from_slice(&ah(59));
        packet.extend_from_slice(b"data");
        packet
    };
    let under_way = v4([10, 0, 0, 1], [1, 131, 11, 4, 10, 0, 0, 2, 10, 0, 0, 3]);
    let half = v4([10, 0, 0, 2], [1, 131, 11, 8, 10, 0, 0, 1, 10, 0, 0, 3]);
    let arrived = v4([10, 0, 0, 3], [1, 131, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2]);
    let icv = sealed(&arrived, &four);
    assert_eq!(sealed(&under_way, &four), icv);
    assert_eq!(sealed(&half, &four), icv);
    let elsewhere = v4([10, 0, 0, 4], [1, 131, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2]);
    assert_ne!(sealed(&elsewhere, &four), icv);

    // IPv6: the addresses of the routing header are covered where they end up.
    let six = sa(Authentication::HmacSha1, key, false, true, Mode::Transport);
    let v6 = |destination: u8, left: u8, hops: [u8; 2]| {
        let address = |last: u8| [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let mut packet = vec![0x60, 0, 0, 0, 0, 68, 43, 64];
        packet.extend_from_slice(&address(1));
        packet.extend_from_slice(&address(destination));
        packet.extend_from_slice(&[51, 4, 0, left, 0, 0, 0, 0]);
        packet.extend_from_slice(&address(hops[0]));
        packet.extend_from_slice(&address(hops[1]));
        packet.extend_from_slice(&ah(59));
        packet.extend_from_slice(b"data");
        packet
    };
    let icv = sealed(&v6(9, 0, [7, 8]), &six);
    assert_eq!(sealed(&v6(8, 1, [7, 9]), &six), icv);
    assert_eq!(sealed(&v6(7, 2, [8, 9]), &six), icv);
    assert_ne!(sealed(&v6(9, 0, [8, 7]), &six), icv);
}
