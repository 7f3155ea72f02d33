//! What SAs are taken, how many, and which one a packet gets.

mod common;

use common::*;
use ipsec::{
    AddError, Algorithm, AuthenticationAlgorithm, CryptoStatus, Direction, EncryptionAlgorithm,
    Endpoints, Engine, NotProcessed, Operation, SaParams, SecurityAssociation, SendError,
    UdpEncapsulation, UdpEncapsulations, Verdict,
};

const ENCRYPTION: [EncryptionAlgorithm; 9] = [
    EncryptionAlgorithm::Null,
    EncryptionAlgorithm::DesCbc,
    EncryptionAlgorithm::TripleDesCbc,
    EncryptionAlgorithm::AesGcm128,
    EncryptionAlgorithm::AesGcm192,
    EncryptionAlgorithm::AesGcm256,
    EncryptionAlgorithm::AesCbc128,
    EncryptionAlgorithm::AesCbc192,
    EncryptionAlgorithm::AesCbc256,
];

fn add(engine: &Engine, associations: &[SecurityAssociation<'_>]) -> Result<(), AddError> {
    engine
        .add_sa(
            &simd(),
            &SaParams {
                direction: Direction::Inbound,
                endpoints: ANY_V4,
                udp_encapsulation: UdpEncapsulations::NONE,
                associations,
            },
        )
        .map(|handle| assert!(engine.delete_sa(handle)))
}

const AUTHENTICATION: [AuthenticationAlgorithm; 6] = [
    AuthenticationAlgorithm::Md5,
    AuthenticationAlgorithm::Sha1,
    AuthenticationAlgorithm::Sha256,
    AuthenticationAlgorithm::AesGmac128,
    AuthenticationAlgorithm::AesGmac192,
    AuthenticationAlgorithm::AesGmac256,
];

/// What is advertised is taken, what is not is refused, and keys have one length.
#[test]
fn capabilities_are_honest() {
    for engine in [engine(4), legacy_engine(4)] {
        let capabilities = engine.capabilities();
        assert_eq!(capabilities.sa_capacity, 4);
        assert!(capabilities.esp && capabilities.transport && capabilities.tunnel);
        for cipher in ENCRYPTION {
            let combined = matches!(
                cipher,
                EncryptionAlgorithm::AesGcm128
                    | EncryptionAlgorithm::AesGcm192
                    | EncryptionAlgorithm::AesGcm256
            );
            for authentication in AUTHENTICATION {
                let gmac = !matches!(
                    authentication,
                    AuthenticationAlgorithm::Md5
                        | AuthenticationAlgorithm::Sha1
                        | AuthenticationAlgorithm::Sha256
                );
                let supported = capabilities.encryption.contains(&cipher)
                    && (combined || capabilities.authentication.contains(&authentication))
                    && (!gmac || combined || cipher == EncryptionAlgorithm::Null);
                let good = Sa {
                    icv: 16,
                    ..Sa::separate(cipher, authentication)
                };
                for length in 0..=64 {
                    let mut sa = good.clone();
                    sa.key = vec![1; length];
                    let expected = match supported {
                        true if length == key_length(cipher) => Ok(()),
                        true => Err(AddError::InvalidParameter),
                        false => Err(AddError::NotSupported),
                    };
                    assert_eq!(add(&engine, &[sa.association()]), expected, "{sa:?}");

                    let mut sa = good.clone();
                    let (_, key) = sa.authentication.as_mut().unwrap();
                    let right = key.len() == length || combined;
                    *key = vec![1; length];
                    let expected = match supported {
                        true if right => Ok(()),
                        true => Err(AddError::InvalidParameter),
                        false => Err(AddError::NotSupported),
                    };
                    assert_eq!(add(&engine, &[sa.association()]), expected, "{sa:?}");
                }
            }
        }
        assert_eq!(engine.sa_count(), 0);
    }
}

#[test]
fn legacy_algorithms_are_off_unless_asked_for() {
    let legacy = [
        EncryptionAlgorithm::DesCbc,
        EncryptionAlgorithm::TripleDesCbc,
    ];
    for (engine, on) in [(engine(1), false), (legacy_engine(1), true)] {
        let capabilities = engine.capabilities();
        for cipher in ENCRYPTION {
            let advertised = capabilities.encryption.contains(&cipher);
            assert_eq!(advertised, on || !legacy.contains(&cipher));
        }
        for authentication in AUTHENTICATION {
            let advertised = capabilities.authentication.contains(&authentication);
            assert_eq!(
                advertised,
                on || authentication != AuthenticationAlgorithm::Md5
            );
        }
    }
}

/// Every subtype is advertised, and taken, alone and with others.
#[test]
fn udp_encapsulation_is_advertised_and_taken() {
    let engine = engine(16);
    assert_eq!(engine.capabilities().udp_esp, UdpEncapsulation::ALL);
    let sa = Sa::separate(EncryptionAlgorithm::Null, AuthenticationAlgorithm::Sha1);
    let mut all = UdpEncapsulations::NONE;
    for subtype in UdpEncapsulation::ALL {
        all = all.with(subtype);
        for types in [subtype.into(), all] {
            let sa = sa.clone().udp(types);
            assert!(sa.add_to(&engine, Direction::Inbound).is_ok(), "{types:?}");
        }
    }
}

/// "Can have an authentication algorithm, an encryption algorithm, or both."
#[test]
fn no_cipher_is_null_encryption() {
    let engine = engine(2);
    let sa = Sa::separate(EncryptionAlgorithm::Null, AuthenticationAlgorithm::Sha256);
    let association = SecurityAssociation {
        encryption: None,
        ..sa.association()
    };
    let params = SaParams {
        direction: Direction::Inbound,
        endpoints: ANY_V4,
        udp_encapsulation: UdpEncapsulations::NONE,
        associations: &[association],
    };
    engine.add_sa(&simd(), &params).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, b"data");
    let mut packet = sa.seal_as_engine(&frame, 1, &[]);
    assert_eq!(engine.open(&simd(), &mut packet), success(frame.pad_length));
}

/// AES-GMAC has one length of ICV; saying another one is a contradiction.
#[test]
fn gmac_icv_lengths() {
    let engine = engine(1);
    let sa = Sa::separate(
        EncryptionAlgorithm::Null,
        AuthenticationAlgorithm::AesGmac256,
    );
    for icv in (0..40).chain([u32::MAX, 128]) {
        let mut association = sa.association();
        if let Some(authentication) = &mut association.authentication {
            authentication.additional_info = icv;
        }
        let expected = if matches!(icv, 0 | 16) {
            Ok(())
        } else {
            Err(AddError::InvalidParameter)
        };
        assert_eq!(add(&engine, &[association]), expected, "{icv}");
    }
}

#[test]
fn parameters_that_contradict_themselves() {
    let engine = engine(4);
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let good = sa.association();
    let refuse = |associations: &[SecurityAssociation<'_>]| {
        assert_eq!(add(&engine, associations), Err(AddError::InvalidParameter));
    };
    refuse(&[]);
    refuse(&[good, good]);
    refuse(&[good, good, good]);
    let ah = SecurityAssociation {
        operation: Operation::Ah,
        ..good
    };
    // AH before ESP; two of AH.
    refuse(&[ah, good]);
    refuse(&[ah, ah]);
    refuse(&[SecurityAssociation { spi: 0, ..good }]);
    // Neither encryption nor authentication; encryption without authentication.
    refuse(&[SecurityAssociation {
        encryption: None,
        ..good
    }]);
    refuse(&[SecurityAssociation {
        encryption: Some(Algorithm {
            identifier: EncryptionAlgorithm::AesCbc128,
            key: &[1; 16],
            additional_info: 0,
        }),
        ..good
    }]);
    for icv in (0..40).chain([u32::MAX, 128]) {
        let sa = Sa::new(EncryptionAlgorithm::AesGcm128, icv);
        let expected = if matches!(icv, 8 | 12 | 16) {
            Ok(())
        } else {
            Err(AddError::InvalidParameter)
        };
        assert_eq!(add(&engine, &[sa.association()]), expected, "{icv}");
    }
    // Beside AES-GCM the authentication algorithm is not looked at.
    let ignored = SecurityAssociation {
        authentication: Some(Algorithm {
            identifier: AuthenticationAlgorithm::Md5,
            key: &[],
            additional_info: 99,
        }),
        ..good
    };
    assert_eq!(add(&engine, &[ignored]), Ok(()));
}

#[test]
fn a_full_table_refuses_and_takes_again() {
    let engine = engine(8);
    let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let mut handles = Vec::new();
    for spi in 1..=8 {
        sa.spi = spi;
        handles.push(sa.add_to(&engine, Direction::Inbound).unwrap());
    }
    for _ in 0..3 {
        assert_eq!(
            sa.add_to(&engine, Direction::Outbound),
            Err(AddError::Resources)
        );
    }
    assert!(engine.delete_sa(handles[3]));
    sa.spi = 99;
    sa.add_to(&engine, Direction::Outbound).unwrap();
    assert_eq!(
        sa.add_to(&engine, Direction::Outbound),
        Err(AddError::Resources)
    );
    let mut spis: Vec<_> = engine.sas().map(|sa| sa.spi).collect();
    spis.sort_unstable();
    assert_eq!(spis, [1, 2, 3, 5, 6, 7, 8, 99]);
    engine.delete_all();
    assert_eq!((engine.sa_count(), engine.sas().count()), (0, 0));
    for _ in 0..8 {
        sa.add_to(&engine, Direction::Inbound).unwrap();
    }
}

#[test]
fn absurd_capacities() {
    for sa_capacity in [u32::MAX, (1 << 20) + 1] {
        let config = ipsec::Config {
            sa_capacity,
            legacy_algorithms: false,
        };
        assert!(Engine::try_new(config).is_err());
    }
    let none = engine(0);
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    assert_eq!(
        sa.add_to(&none, Direction::Inbound),
        Err(AddError::Resources)
    );
}

/// All SAs have the packet's SPI and other keys: only the right one opens it.
#[test]
fn the_most_specific_sa_wins() {
    let other = [203, 0, 113, 9];
    let v4 = |source, destination| Endpoints::V4 {
        source,
        destination,
    };
    // From the best to the worst; then what does not fit at all.
    let fitting = [
        v4(SOURCE_V4, DESTINATION_V4),
        v4([0; 4], DESTINATION_V4),
        v4(SOURCE_V4, [0; 4]),
        v4([0; 4], [0; 4]),
    ];
    let strangers = [
        v4(other, DESTINATION_V4),
        v4(SOURCE_V4, other),
        v4(DESTINATION_V4, SOURCE_V4),
        ANY_V6,
    ];
    let sa = |endpoints, key| {
        let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
        sa.endpoints = endpoints;
        sa.key[0] = key;
        sa
    };
    for reversed in [false, true] {
        let engine = engine(8);
        let mut sas: Vec<Sa> = fitting
            .into_iter()
            .chain(strangers)
            .zip(0..)
            .map(|(endpoints, key)| sa(endpoints, key))
            .collect();
        if reversed {
            sas.reverse();
        }
        let handles: Vec<_> = sas
            .iter()
            .map(|sa| sa.add_to(&engine, Direction::Inbound).unwrap())
            .collect();
        // Take the best away, and the next best has the packet.
        for endpoints in fitting {
            let best = sas.iter().position(|sa| sa.endpoints == endpoints).unwrap();
            let frame = Frame::new(Ip::V4, &sas[best], 1, b"data");
            let mut packet = sas[best].seal_elsewhere(&frame, 1);
            assert_eq!(
                engine.open(&simd(), &mut packet),
                success(frame.pad_length),
                "{endpoints:?}"
            );
            engine.delete_sa(handles[best]);
        }
        let mut packet = Frame::new(Ip::V4, &sas[0], 1, b"data").bytes;
        assert_eq!(
            engine.open(&simd(), &mut packet),
            Verdict::NotProcessed(NotProcessed::NoSa)
        );
    }
}

#[test]
fn ipv6_addresses_are_compared_whole() {
    for byte in 0..16 {
        let mut destination = DESTINATION_V6;
        destination[byte] ^= 1;
        let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
        sa.endpoints = Endpoints::V6 {
            source: SOURCE_V6,
            destination,
        };
        let engine = engine(1);
        sa.add_to(&engine, Direction::Inbound).unwrap();
        let mut packet = Frame::new(Ip::V6, &sa, 1, b"data").bytes;
        assert_eq!(
            engine.open(&simd(), &mut packet),
            Verdict::NotProcessed(NotProcessed::NoSa)
        );
    }
}

#[test]
fn outbound_sas_receive_nothing() {
    let engine = engine(1);
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    sa.add_to(&engine, Direction::Outbound).unwrap();
    let frame = Frame::new(Ip::V4, &sa, 1, b"data");
    let mut packet = sa.seal_elsewhere(&frame, 1);
    assert_eq!(
        engine.open(&simd(), &mut packet),
        Verdict::NotProcessed(NotProcessed::NoSa)
    );
    assert_eq!(engine.counters().no_sa, 1);
}

/// A burst that found its SA goes on with it; the next one does not find it.
#[test]
fn deleting_does_not_disturb_a_burst() {
    let engine = engine(2);
    let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
    let out = sa.add_to(&engine, Direction::Outbound).unwrap();
    let inbound = sa.add_to(&engine, Direction::Inbound).unwrap();
    let simd = simd();
    let frame = |sequence| Frame::new(Ip::V4, &sa, sequence, b"data");
    {
        let mut sending = engine.outbound(&simd);
        let mut receiving = engine.inbound(&simd);
        for sequence in 1..4 {
            let frame = frame(sequence);
            let mut packet = frame.bytes.clone();
            sending.seal(&frame.request(out), &mut packet).unwrap();
            assert_eq!(receiving.open(&mut packet), success(frame.pad_length));
            engine.delete_sa(out);
            engine.delete_sa(inbound);
            assert_eq!(engine.sa_count(), 0);
        }
        // The slots are not free while they are used.
        assert_eq!(
            sa.add_to(&engine, Direction::Inbound),
            Err(AddError::Resources)
        );
    }
    let frame = frame(4);
    let mut packet = frame.bytes.clone();
    assert_eq!(
        engine.seal(&simd, &frame.request(out), &mut packet),
        Err(SendError::UnknownSa)
    );
    assert_eq!(
        engine.open(&simd, &mut packet),
        Verdict::NotProcessed(NotProcessed::NoSa)
    );
    sa.add_to(&engine, Direction::Inbound).unwrap();
    sa.add_to(&engine, Direction::Outbound).unwrap();
}

/// A burst changes from SA to SA and back.
#[test]
fn a_burst_of_many_sas() {
    let engine = engine(8);
    let simd = simd();
    let sas: Vec<_> = (1..=4)
        .map(|spi| {
            let mut sa = Sa::new(EncryptionAlgorithm::AesGcm256, 16);
            sa.spi = spi;
            sa.key[5] = spi as u8;
            let out = sa.add_to(&engine, Direction::Outbound).unwrap();
            sa.add_to(&engine, Direction::Inbound).unwrap();
            (sa, out)
        })
        .collect();
    let mut sending = engine.outbound(&simd);
    let mut receiving = engine.inbound(&simd);
    for index in 0..40usize {
        let (sa, out) = &sas[(index * index) % 4];
        let frame = Frame::new(Ip::V4, sa, index as u32 + 1, &payload(index));
        let mut packet = frame.bytes.clone();
        sending.seal(&frame.request(*out), &mut packet).unwrap();
        assert_eq!(receiving.open(&mut packet), success(frame.pad_length));
    }
    drop((sending, receiving));
    let packets: u64 = engine.sas().map(|sa| sa.counters.packets).sum();
    assert_eq!(packets, 80);
    assert_eq!(
        (engine.counters().sealed, engine.counters().opened),
        (40, 40)
    );
}

/// From seven eighths on, an SA that was idle is asked to go, once it shows up.
#[test]
fn a_nearly_full_table_asks_the_idle_to_go() {
    let engine = engine(16);
    let sas: Vec<Sa> = (1..=16)
        .map(|spi| {
            let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
            sa.spi = spi;
            sa
        })
        .collect();
    let receive = |sa: &Sa| {
        let frame = Frame::new(Ip::V4, sa, 1, b"data");
        let mut packet = sa.seal_elsewhere(&frame, 1);
        let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
            panic!("not processed");
        };
        assert_eq!(outcome.status, CryptoStatus::Success);
        outcome.sa_delete_request
    };
    for sa in &sas[..14] {
        sa.add_to(&engine, Direction::Inbound).unwrap();
    }
    // The fifteenth finds all of them fresh, and looks again for the sixteenth.
    sas[14].add_to(&engine, Direction::Inbound).unwrap();
    for (index, sa) in sas[..15].iter().enumerate() {
        if index != 6 {
            assert!(!receive(sa));
        }
    }
    sas[15].add_to(&engine, Direction::Inbound).unwrap();
    for (index, sa) in sas.iter().enumerate() {
        assert_eq!(receive(sa), index == 6, "{index}");
    }
}

/// Two SAs in a row, as a host adds a pair: the idle one is asked to go first, and then the one that
/// was used least recently.
#[test]
fn the_least_recently_used_is_asked_to_go_first() {
    let engine = engine(16);
    let sas: Vec<Sa> = (1..=16)
        .map(|spi| {
            let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
            sa.spi = spi;
            sa
        })
        .collect();
    let receive = |sa: &Sa| {
        let mut packet = sa.seal_elsewhere(&Frame::new(Ip::V4, sa, 1, b"data"), 1);
        let Verdict::Processed(outcome) = engine.open(&simd(), &mut packet) else {
            panic!("not processed");
        };
        outcome.sa_delete_request
    };
    for sa in &sas[..14] {
        sa.add_to(&engine, Direction::Inbound).unwrap();
    }
    for index in [3, 0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13] {
        assert!(!receive(&sas[index]), "{index}");
    }
    sas[14].add_to(&engine, Direction::Inbound).unwrap();
    sas[15].add_to(&engine, Direction::Outbound).unwrap();
    for (index, sa) in sas[..15].iter().enumerate() {
        assert_eq!(receive(sa), [6, 3].contains(&index), "{index}");
    }
}

/// Add, delete, send and receive on all processors at once.
#[test]
fn everything_at_once() {
    let engine = engine(32);
    std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|thread: u8| {
            let engine = &engine;
            scope.spawn(move || {
                let simd = simd();
                for round in 0..300u32 {
                    let mut sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
                    // All threads' packets have one SPI; the key tells whose they are.
                    sa.key[0] = thread;
                    sa.spi = 7 + u32::from(thread % 2);
                    sa.endpoints = Endpoints::V4 {
                        source: SOURCE_V4,
                        destination: [10, 0, 0, thread],
                    };
                    let out = sa.add_to(engine, Direction::Outbound).unwrap();
                    let inbound = sa.add_to(engine, Direction::Inbound).unwrap();
                    for sequence in 1..4 {
                        let mut frame = Frame::new(Ip::V4, &sa, sequence, &payload(64));
                        frame.bytes[16..20].copy_from_slice(&[10, 0, 0, thread]);
                        let mut packet = frame.bytes.clone();
                        engine
                            .seal(&simd, &frame.request(out), &mut packet)
                            .unwrap();
                        assert_eq!(
                            engine.open(&simd, &mut packet),
                            success(frame.pad_length),
                            "{thread} {round}"
                        );
                    }
                    assert!(engine.delete_sa(out) && engine.delete_sa(inbound));
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(engine.sa_count(), 0);
    assert_eq!(engine.counters().opened, 4 * 300 * 3);
}
