//! The judge is judged: every check of a packet that went through the driver fires.

use tcpip::{
    algorithm::{Encryption, Suite},
    checksum::ChecksumStamp,
    framing::ROOM,
    offload::ReceiveStamp,
    outbound::{Outgoing, Sender, seal_in_software},
    policy::{Keys, Offers, make_sas},
    recorder::{Completed, Indicated},
    sas::Sa,
    software::SoftwareEsp,
    synthetic,
    unframe::HeaderInfo,
    verify::{check_completion, check_received, check_wire},
};

struct Case {
    sas: Vec<Sa>,
    outgoing: Outgoing,
    captured: Vec<u8>,
    /// As the tap sees it.
    wire: Indicated,
    /// As it comes up.
    received: Indicated,
}

/// A packet that went through a perfect driver.
fn perfect(captured: Vec<u8>) -> Case {
    perfect_with(captured, Encryption::AesGcm128.into())
}

fn perfect_with(captured: Vec<u8>, suite: Suite) -> Case {
    let sas = make_sas(
        [captured.as_slice()].into_iter(),
        &Offers::EVERYTHING,
        suite,
        16,
        Keys::Seed(1),
    )
    .unwrap()
    .sas;
    let outgoing = Sender::new(&sas, Offers::EVERYTHING)
        .prepare(1, &captured)
        .unwrap();
    let sealed = seal_in_software(&outgoing, &sas).unwrap();
    let wire = Indicated {
        frame: sealed.clone(),
        stamp: ReceiveStamp::NONE,
        header: None,
        checksums: ChecksumStamp::default(),
        tunnel: 0,
    };
    let mut received = wire.clone();
    if let Ok(protection) = outgoing.protection {
        SoftwareEsp::new(sas[0].esp.as_ref().unwrap())
            .unwrap()
            .open(&mut received.frame, 0)
            .unwrap();
        received.stamp.crypto_done = true;
        received.header = Some(HeaderInfo {
            next_header: protection.esp().unwrap().next_header,
            pad_len: protection.esp().unwrap().pad_len,
        });
    }
    Case {
        sas,
        outgoing,
        captured,
        wire,
        received,
    }
}

impl Case {
    fn received(&self) -> Result<Vec<u8>, String> {
        check_received(&self.outgoing, &self.received, &self.sas, &self.captured)
            .map_err(|error| format!("{error:#}"))
    }

    fn wire(&self) -> Result<(), String> {
        check_wire(&self.outgoing, &self.wire, &self.sas).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn a_perfect_packet_passes() {
    for frame in [
        synthetic::udp_v4(100).unwrap(),
        synthetic::udp_v6(100).unwrap(),
    ] {
        let case = perfect(frame.clone());
        case.wire().unwrap();
        assert_eq!(case.received().unwrap(), frame);
    }
}

#[test]
fn every_byte_of_the_wire_counts() {
    let mut case = perfect(synthetic::udp_v4(100).unwrap());
    for at in 0..case.wire.frame.len() {
        case.wire.frame[at] ^= 0x20;
        assert!(case.wire().is_err(), "byte {at}");
        case.wire.frame[at] ^= 0x20;
    }
    case.wire.frame.push(0);
    assert!(case.wire().is_err());
    case.wire.frame.truncate(50);
    assert!(case.wire().unwrap_err().contains("50 bytes instead of"));
}

const SUITES: [&str; 5] = [
    "aes-gcm-256",
    "aes-cbc-128+hmac-sha-1-96",
    "aes-cbc-192+hmac-sha-256-128",
    "null+hmac-sha-1-96",
    "null+aes-gmac-256",
];

/// With an IV of the driver's choice too, of which only the bytes of the IV are believed.
#[test]
fn every_byte_counts_with_every_kind_of_algorithm() {
    for suite in SUITES {
        for frame in [synthetic::udp_v4(90), synthetic::udp_v6(90)] {
            let mut case = perfect_with(frame.unwrap(), suite.parse().unwrap());
            case.wire().unwrap();
            assert_eq!(case.received().unwrap(), case.captured);
            for at in 0..case.wire.frame.len() {
                case.wire.frame[at] ^= 0x20;
                assert!(case.wire().is_err(), "{suite}: byte {at}");
                case.wire.frame[at] ^= 0x20;
            }
        }
    }
}

#[test]
fn any_iv_of_aes_cbc_will_do_but_none() {
    let suite: Suite = "aes-cbc-256+hmac-sha-256-128".parse().unwrap();
    let mut case = perfect_with(synthetic::udp_v4(90).unwrap(), suite);
    let software = SoftwareEsp::new(case.sas[0].esp.as_ref().unwrap()).unwrap();
    let seal = |iv: &[u8]| {
        let mut frame = case.outgoing.frame.clone();
        software.seal_with_iv(&mut frame, 0, iv).unwrap();
        frame
    };
    let (chosen, left_alone) = (seal(b"an IV, 16 bytes."), seal(&[ROOM; 16]));
    case.wire.frame = chosen;
    case.wire().unwrap();
    case.wire.frame = left_alone;
    assert!(case.wire().unwrap_err().contains("the IV was not written"));
}

#[test]
fn plaintext_on_the_wire_is_noticed() {
    for suite in SUITES {
        let captured = synthetic::udp_v4(100).unwrap();
        let mut case = perfect_with(captured, suite.parse().unwrap());
        case.wire.frame = case.outgoing.frame.clone();
        assert!(case.wire().is_err(), "{suite}");
        case.wire.frame = case.captured.clone();
        assert!(case.wire().is_err(), "{suite}");
    }
}

#[test]
fn algorithms_by_name() {
    for suite in Suite::all() {
        assert_eq!(suite.to_string().parse(), Ok(suite));
    }
    for wrong in [
        "",
        "aes",
        "aes-cbc-128",
        "null",
        "aes-gcm-128+hmac-sha-1-96",
        "aes-cbc-128+aes-gmac-128",
        "aes-cbc-128+",
        "null+hmac-sha-1-96+hmac-sha-1-96",
    ] {
        assert!(wrong.parse::<Suite>().is_err(), "{wrong}");
    }
}

#[test]
fn stamps_of_the_tap_and_of_clear_packets_must_be_empty() {
    let mut arp = vec![0xFF; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    for frame in [synthetic::udp_v4(100).unwrap(), arp.clone()] {
        let mut case = perfect(frame);
        case.wire.stamp.crypto_done = true;
        assert!(case.wire().unwrap_err().contains("without SAs"));
    }
    let mut case = perfect(arp.clone());
    assert_eq!(case.received().unwrap(), arp);
    // Ethernet's padding is no difference; anything else is.
    case.received.frame.resize(60, 0);
    assert_eq!(case.received().unwrap(), arp);
    case.received.frame[59] = 1;
    assert!(case.received().is_err());
    case.received.frame[59] = 0;
    case.received.stamp.crypto_done = true;
    assert!(case.received().is_err());
}

#[test]
fn every_part_of_a_verdict_counts() {
    let broken = |break_it: fn(&mut Indicated)| {
        let mut case = perfect(synthetic::udp_v6(100).unwrap());
        break_it(&mut case.received);
        case.received().unwrap_err()
    };
    assert!(broken(|seen| seen.stamp.crypto_done = false).contains("CryptoDone 0"));
    assert!(broken(|seen| seen.stamp.next_crypto_done = true).contains("NextCryptoDone 1"));
    assert!(
        broken(|seen| seen.stamp.crypto_status = 3).contains("CRYPTO_TRANSPORT_ESP_AUTH_FAILED")
    );
    assert!(broken(|seen| seen.header = None).contains("HeaderInfoSet"));
    assert!(broken(|seen| seen.header.as_mut().unwrap().pad_len += 1).contains("the driver says"));
    assert!(
        broken(|seen| seen.header.as_mut().unwrap().next_header = 6).contains("the driver says")
    );
    // Payload, padding, SPI, sequence number.
    assert!(broken(|seen| seen.frame[80] ^= 1).contains("byte"));
    assert!(broken(|seen| seen.frame[54 + 3] ^= 1).contains("SPI"));
    assert!(broken(|seen| seen.frame[54 + 7] ^= 1).contains("sequence number"));
}

#[test]
fn what_ipsec_does_not_carry_is_put_back() {
    // Captured with the padding of the link, and before a NIC filled in the checksum.
    let mut captured = synthetic::udp_v4(30).unwrap();
    captured.extend_from_slice(&[7; 16]);
    captured[24..26].fill(0);
    let case = perfect(captured.clone());
    assert_ne!(case.outgoing.plain, captured);
    case.wire().unwrap();
    assert_eq!(case.received().unwrap(), captured);
}

#[test]
fn completions_are_counted() {
    let case = perfect(synthetic::udp_v4(100).unwrap());
    let done = |status| Completed { cookie: 1, status };
    let check = |completed: &[Completed]| {
        check_completion(&case.outgoing, completed).map_err(|error| error.to_string())
    };
    let other = Completed {
        cookie: 2,
        status: 0,
    };
    assert_eq!(check(&[done(0)]), Ok(()));
    assert!(check(&[other]).unwrap_err().contains("not completed"));
    assert!(check(&[done(0), done(0)]).unwrap_err().contains("twice"));
    let failed = check(&[done(0xC000_0001_u32 as i32)]).unwrap_err();
    assert!(failed.contains("NDIS_STATUS_FAILURE"), "{failed}");
}
