//! IVs: never the same twice under one key, and with CBC such as nobody can foretell.

use std::collections::HashSet;

use ipsecov2_tests::{
    adapter::{TestAdapter, name},
    associations::{Kind, extend, sa},
    bench::{Bench, config},
    framed::{Numbers, packet},
};
use ndis_sim::{Irql, ndis::OidRequest};
use ndis_sys::{IPsecOffloadV2Ah, IPsecOffloadV2Esp, OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA};
use tcpip::{
    iv::{IvWatch, ivs},
    lab::{NdisVersion, Port, status_name},
    offload::{self, Handle, Way},
    sas::{Mode, Sa},
};

/// The kinds whose packets show an IV.
fn with_iv() -> impl Iterator<Item = Kind> {
    let shows = |kind: &Kind| {
        let sa = sa(*kind, Mode::Transport, false, 1);
        let esp = sa.esp.is_some_and(|esp| esp.iv_len() > 0);
        esp || sa
            .ah
            .is_some_and(|ah| ah.authentication.algorithm.is_gmac())
    };
    Kind::all().into_iter().filter(shows)
}

fn update(port: &Port, sa: &Sa, handle: Handle, high: u32) -> Vec<String> {
    let headers = [
        sa.esp.as_ref().map(|esp| (IPsecOffloadV2Esp, esp.spi.0)),
        sa.ah.as_ref().map(|ah| (IPsecOffloadV2Ah, ah.spi.0)),
    ];
    let updates = headers.into_iter().flatten().map(|(operation, spi)| {
        let request = OidRequest::set(
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
            offload::update_sa(handle, operation, spi, high),
        );
        let result = port.open.direct_oid(request, Irql::DISPATCH).unwrap();
        status_name(result.status)
    });
    updates.collect()
}

/// When UPDATE_SA comes, relative to the packet that wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    Never,
    Before,
    After,
}

/// Over three wraps of the low half, with numbers out of order around each.
#[test]
fn across_wraps_of_the_sequence_number() {
    for (index, version) in NdisVersion::ALL.into_iter().enumerate() {
        let bench = Bench::start(version, || config(true));
        for (number, kind) in (1..).zip(with_iv()) {
            for (case, when) in (0..).zip([Update::Never, Update::Before, Update::After]) {
                if version != NdisVersion::V6_1 && number as usize % 5 != index {
                    continue;
                }
                let number = number * 3 + case;
                let mut sa = sa(kind, Mode::Transport, number % 2 == 0, number);
                extend(&mut sa, 7);
                wrap(&bench, &sa, when);
            }
        }
        assert!(bench.ivs() > 100);
        bench.finish();
    }
}

fn wrap(bench: &Bench, sa: &Sa, when: Update) {
    let handles = bench.add(sa);
    let mut high = 7u32;
    let pass = |sequence: u32| {
        let list = packet(sa, 24, sequence).list(handles.0, 0);
        let (wire, seen) = bench.pass(list, std::slice::from_ref(sa));
        let what = format!("{} {when:?} {sequence:#x}", sa.name);
        assert!(seen.stamp.crypto_done, "{what}");
        assert_eq!(seen.stamp.status_name(), "CRYPTO_SUCCESS", "{what}");
        wire
    };
    for _ in 0..3 {
        // On the way to the wrap: a leap that is less than half of all numbers.
        for sequence in [5, 0x7000_0000, 0xE000_0000] {
            pass(sequence);
        }
        if when == Update::Before {
            let updated = update(&bench.a, sa, handles.0, high + 1);
            assert!(updated.iter().all(|name| name == "NDIS_STATUS_SUCCESS"));
        }
        for sequence in [u32::MAX - 2, u32::MAX, 0, 2, u32::MAX - 1, 1] {
            let wire = pass(sequence);
            let high = if sequence < 3 { high + 1 } else { high };
            check_counting(sa, &wire, u64::from(high) << 32 | u64::from(sequence));
        }
        high += 1;
        if when == Update::After {
            let updated = update(&bench.a, sa, handles.0, high);
            assert!(updated.iter().all(|name| name == "NDIS_STATUS_SUCCESS"));
        }
    }
    bench.delete(handles);
}

/// With AES-GCM and AES-GMAC the IV is the number (RFC 8750 section 2).
fn check_counting(sa: &Sa, wire: &[u8], number: u64) {
    for iv in ivs(wire, std::slice::from_ref(sa)) {
        if iv.bytes.len() == 8 && iv.key.len() % 8 == 4 {
            assert_eq!(iv.bytes, number.to_be_bytes(), "{}", sa.name);
        }
    }
}

/// A sending SA whose numbers would come again is not set back: UPDATE_SA refuses, and its IVs
/// go on.
#[test]
fn an_update_does_not_bring_them_back() {
    let bench = Bench::start(NdisVersion::V6_20, || config(false));
    for (number, kind) in (1..).zip(with_iv().filter(|kind| !kind.is_legacy())) {
        let mut sa = sa(kind, Mode::Transport, number % 2 == 0, number);
        extend(&mut sa, 5);
        let handles = bench.add(&sa);
        let pass = |sequence: u32| {
            let list = packet(&sa, 24, sequence).list(handles.0, 0);
            bench.pass(list, std::slice::from_ref(&sa))
        };
        for sequence in 1..5 {
            pass(sequence);
        }
        for high in [4, 0] {
            for refused in update(&bench.a, &sa, handles.0, high) {
                assert_eq!(refused, "NDIS_STATUS_INVALID_PARAMETER", "{}", sa.name);
            }
        }
        for sequence in 5..9 {
            let (wire, _) = pass(sequence);
            check_counting(&sa, &wire, 5 << 32 | u64::from(sequence));
        }
        bench.delete(handles);
    }
    bench.finish();
}

/// Without ESN the numbers end, and nothing goes out under one that was there before.
#[test]
fn without_extended_numbers_they_end() {
    let bench = Bench::start(NdisVersion::V6_1, || config(true));
    for (number, kind) in (1..).zip(with_iv()) {
        let sa = sa(kind, Mode::Transport, false, number);
        let handles = bench.add(&sa);
        for sequence in [1, 0x7000_0000, 0xE000_0000, u32::MAX - 1, u32::MAX] {
            let list = packet(&sa, 24, sequence).list(handles.0, 0);
            bench.pass(list, std::slice::from_ref(&sa));
        }
        for sequence in [0, 1, 2, 1000] {
            let list = packet(&sa, 24, sequence).list(handles.0, 0);
            assert_eq!(bench.send(list), "NDIS_STATUS_FAILURE", "{}", sa.name);
        }
        bench.delete(handles);
    }
    bench.finish();
}

/// The same key again after DELETE_SA: with numbers that go on no IV comes again. With the same
/// numbers CBC has other IVs all the same; counting ones are the transport's duty (RFC 4106
/// section 3.1: "the same IV and key combination MUST NOT be used more than once"), and there the
/// watch must speak up.
#[test]
fn the_same_key_again() {
    let bench = Bench::start(NdisVersion::V6_30, || config(true));
    for (number, kind) in (1..).zip(with_iv()) {
        let sa = sa(kind, Mode::Transport, number % 2 == 1, number);
        let mut watch = IvWatch::default();
        for first in [1, 11, 21] {
            let handles = bench.add(&sa);
            for sequence in first..first + 10 {
                let list = packet(&sa, 24, sequence).list(handles.0, 0);
                let (wire, _) = bench.pass(list, std::slice::from_ref(&sa));
                watch.note(&wire, std::slice::from_ref(&sa)).unwrap();
            }
            bench.delete(handles);
        }
        let counting = ivs_count(&sa);
        let handles = bench.add(&sa);
        let list = packet(&sa, 24, 5).list(handles.0, 0);
        let (wire, _) = bench.pass_unwatched(list);
        let noted = watch.note(&wire, std::slice::from_ref(&sa));
        assert_eq!(noted.is_err(), counting, "{}", sa.name);
        bench.delete(handles);
    }
    bench.finish();
}

/// Whether one of the SA's IVs is the sequence number.
fn ivs_count(sa: &Sa) -> bool {
    let esp = sa
        .esp
        .as_ref()
        .is_some_and(|esp| esp.suite().iv_is_sequence());
    esp || sa
        .ah
        .as_ref()
        .is_some_and(|ah| ah.authentication.algorithm.is_gmac())
}

/// What an attacker has to foretell IVs of CBC from: the packets before, other SAs, the numbers.
#[test]
fn ivs_of_cbc_cannot_be_foretold() {
    let bench = Bench::start(NdisVersion::V6_1, || config(true));
    let kinds = Kind::all().into_iter().filter(|kind| match kind {
        Kind::Esp(suite) => suite.encryption.alignment() >= 8,
        Kind::Bundle(encryption, ..) => encryption.alignment() >= 8,
        Kind::Ah(_) => false,
    });
    let mut checked = 0;
    for (number, kind) in (1..).zip(kinds) {
        let sa = sa(kind, Mode::Transport, false, number * 2);
        // The same keys for other addresses.
        let mut twin = sa.clone();
        twin.name.push_str(", twin");
        twin.destination = Some("198.51.100.77".parse().unwrap());
        if let Some(esp) = &mut twin.esp {
            esp.spi.0 += 1;
        }
        if let Some(ah) = &mut twin.ah {
            ah.spi.0 += 1;
        }
        let sas = [sa, twin];
        let handles = [bench.add(&sas[0]), bench.add(&sas[1])];
        let block = sas[0].esp.as_ref().unwrap().encryption.algorithm.iv_len();
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut differences: HashSet<Vec<u8>> = HashSet::new();
        let mut previous: Option<Vec<u8>> = None;
        let mut last_block: Option<Vec<u8>> = None;
        let mut ones = 0;
        for sequence in 1..=64 {
            for (sa, handles) in sas.iter().zip(handles) {
                let sent = packet(sa, 72, sequence);
                // Unwatched: AH with AES-GMAC, of two SAs with one key, counts the same twice.
                let (wire, _) = bench.pass_unwatched(sent.list(handles.0, 0));
                let esp = sa.esp.as_ref().unwrap();
                let at = sent.esp.unwrap() + 8;
                let iv = wire[at..at + block].to_vec();
                let what = format!("{} {sequence}", sa.name);
                // Not the one of any packet before, of either SA.
                assert!(seen.insert(iv.clone()), "{what}");
                // Not chained (CVE-2022-46397), not the number, not zeros.
                assert_ne!(Some(&iv), last_block.as_ref(), "{what}");
                assert!(iv[block - 4..] != sequence.to_be_bytes(), "{what}");
                assert!(iv[..block / 2].iter().any(|&byte| byte != 0), "{what}");
                // Not a count, of whatever step: neither forwards nor by xor.
                if let Some(previous) = &previous {
                    let xor = iv.iter().zip(previous).map(|(a, b)| a ^ b).collect();
                    assert!(differences.insert(xor), "{what}");
                    assert!(differences.insert(minus(&iv, previous)), "{what}");
                }
                ones += iv.iter().map(|byte| byte.count_ones()).sum::<u32>();
                let end = sent.frame.len() - esp.icv_len();
                last_block = Some(wire[end - block..end].to_vec());
                previous = Some(iv);
            }
        }
        // Half of the bits, give or take eight standard deviations.
        let bits = 128.0 * 8.0 * block as f64;
        let off = (f64::from(ones) - bits / 2.0).abs();
        assert!(off < 8.0 * (bits / 4.0).sqrt(), "{ones} ones of {bits}");
        for handles in handles {
            bench.delete(handles);
        }
        checked += 1;
    }
    assert!(checked >= 20, "only {checked}");
    bench.finish();
}

/// The difference of two numbers in network order.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0i16;
    let mut difference: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let step = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(step < 0);
            step as u8
        })
        .collect();
    difference.reverse();
    difference
}

/// UPDATE_SA at DISPATCH_LEVEL on one processor while packets wrap on another: every packet goes
/// out under its own number, and no IV comes twice.
#[test]
fn updates_race_with_the_packet_that_wraps() {
    let bench = Bench::start(NdisVersion::V6_1, || config(false));
    for (number, kind) in (1..).zip([
        Kind::Esp("aes-gcm-128".parse().unwrap()),
        Kind::Esp("aes-cbc-128+hmac-sha-1-96".parse().unwrap()),
        Kind::Bundle(
            tcpip::algorithm::Encryption::AesGcm256,
            None,
            tcpip::algorithm::Authentication::AesGmac128,
        ),
    ]) {
        for round in 0..20 {
            let mut sa = sa(kind, Mode::Transport, false, number * 100 + round);
            extend(&mut sa, 1);
            let handles = bench.add(&sa);
            // UPDATE_SA is for the coming wrap once there was a packet of this high half.
            let first = packet(&sa, 24, u32::MAX - 10).list(handles.0, 0);
            bench.pass(first, std::slice::from_ref(&sa));
            let numbers = (u32::MAX - 9..=u32::MAX).chain(0..10);
            std::thread::scope(|scope| {
                let updates = scope.spawn(|| {
                    let mut statuses = HashSet::new();
                    for _ in 0..20 {
                        statuses.extend(update(&bench.a, &sa, handles.0, 2));
                        statuses.extend(update(&bench.b, &sa, handles.1, 2));
                    }
                    statuses
                });
                for sequence in numbers {
                    let numbers = Numbers::from(sequence);
                    let list = packet(&sa, 24, numbers).list(handles.0, 0);
                    let (wire, seen) = bench.pass(list, std::slice::from_ref(&sa));
                    assert_eq!(seen.stamp.status_name(), "CRYPTO_SUCCESS", "{sequence:#x}");
                    let high = if sequence < 10 { 2 } else { 1 };
                    check_counting(&sa, &wire, high << 32 | u64::from(sequence));
                }
                let statuses = updates.join().unwrap();
                assert_eq!(statuses, HashSet::from(["NDIS_STATUS_SUCCESS".to_owned()]));
            });
            bench.delete(handles);
        }
    }
    bench.finish();
}

/// The rules of UPDATE_SA for each header of an SA, by what packets show of it afterwards.
#[test]
fn an_update_is_for_the_header_that_it_names() {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start_with(version, config(false));
        let mut sa = sa(
            Kind::Bundle(
                tcpip::algorithm::Encryption::AesGcm128,
                None,
                tcpip::algorithm::Authentication::HmacSha1,
            ),
            Mode::Transport,
            false,
            1,
        );
        // Only AH has extended numbers.
        sa.ah.as_mut().unwrap().esn = true;
        let handle = adapter.add_one(&sa, Way::Inbound);
        let esp_spi = sa.esp.as_ref().unwrap().spi.0;
        let ah_spi = sa.ah.as_ref().unwrap().spi.0;
        for (operation, spi, expected) in [
            (IPsecOffloadV2Ah, ah_spi, "NDIS_STATUS_SUCCESS"),
            (IPsecOffloadV2Esp, esp_spi, "NDIS_STATUS_INVALID_PARAMETER"),
            (IPsecOffloadV2Ah, esp_spi, "NDIS_STATUS_INVALID_PARAMETER"),
            (IPsecOffloadV2Esp, ah_spi, "NDIS_STATUS_INVALID_PARAMETER"),
            (IPsecOffloadV2Ah, 0, "NDIS_STATUS_INVALID_PARAMETER"),
        ] {
            let result = adapter.update(offload::update_sa(handle, operation, spi, 1));
            assert_eq!(name(&result), expected, "{operation} {spi:#x}");
        }
        assert_eq!(name(&adapter.delete(&[handle])), "NDIS_STATUS_SUCCESS");
        let result = adapter.update(offload::update_sa(handle, IPsecOffloadV2Ah, ah_spi, 1));
        assert_eq!(name(&result), "NDIS_STATUS_INVALID_PARAMETER");
        adapter.finish();
    }
}
