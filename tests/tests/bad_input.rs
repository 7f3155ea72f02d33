//! Bad input gets the documented answer, and never a crash: the simulator faults a driver that
//! reads one byte behind a buffer. Statuses are those of the OID pages, and where these are
//! silent those that the driver decides and documents.

use ipsecov2_tests::adapter::{TestAdapter, name};
use ndis_sim::ndis::{AdapterConfig, OidRequest};
use ndis_sys::{
    IPSEC_OFFLOAD_V2_ADD_SA, IPSEC_OFFLOAD_V2_ADD_SA_EX, IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
    IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION,
    IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL,
    IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL, IPsecOffloadV2Ah, IPsecOffloadV2Esp,
    NDIS_IPSEC_OFFLOAD_V2, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
};
use std::mem::offset_of;
use tcpip::{
    algorithm::{Authentication, Encryption, Suite},
    lab::{HARDWARE_ID, NdisVersion},
    offload::{self, NEXT, Way},
    sas::{Ah, AuthenticationKey, EncryptionKey, Sa, SaFile, Spi, UdpEsp},
};

const SUCCESS: &str = "NDIS_STATUS_SUCCESS";
const INVALID_LENGTH: &str = "NDIS_STATUS_INVALID_LENGTH";
const INVALID_PARAMETER: &str = "NDIS_STATUS_INVALID_PARAMETER";
const NOT_SUPPORTED: &str = "NDIS_STATUS_NOT_SUPPORTED";
const RESOURCES: &str = "NDIS_STATUS_RESOURCES";
/// Of the three answers that Driver Verifier allows to DELETE_SA, the one for what cannot be read.
const REQUEST_ABORTED: &str = "NDIS_STATUS_REQUEST_ABORTED";

fn parse(esp: &str) -> Sa {
    let text = format!(
        r#"{{ "version": 1, "sas": [ {{ "name": "sa", "source": "192.0.2.1", "destination": "192.0.2.2", {esp} }} ] }}"#
    );
    SaFile::parse(&text).unwrap().sas.remove(0)
}

fn good_sa() -> Sa {
    parse(
        r#""esp": { "spi": "0x10000001", "encryption": { "algorithm": "aes-gcm-128",
           "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304" } }"#,
    )
}

fn with_spi(spi: u32) -> Sa {
    let mut sa = good_sa();
    sa.esp.as_mut().unwrap().spi = Spi(spi);
    sa
}

/// An SA with these algorithms, also such as no transport would offload.
fn with_suite(suite: Suite) -> Sa {
    let Suite {
        encryption,
        authentication,
    } = suite;
    let mut sa = good_sa();
    let esp = sa.esp.as_mut().unwrap();
    esp.encryption = EncryptionKey {
        algorithm: encryption,
        key: vec![0x11; encryption.key_len()],
        salt: vec![0x22; encryption.salt_len()],
        icv_length: encryption.is_gcm().then_some(16),
    };
    esp.authentication = authentication.map(key_of);
    sa
}

fn key_of(algorithm: Authentication) -> AuthenticationKey {
    AuthenticationKey {
        algorithm,
        key: vec![0x33; algorithm.key_len()],
        salt: vec![0x44; algorithm.salt_len()],
    }
}

/// Where the members of the two ADD_SA structures are.
struct Offsets {
    flags: usize,
    num_ext_hdrs: usize,
    handle: usize,
    udp: usize,
    association: usize,
    key_length: usize,
}

impl Offsets {
    fn of(adapter: &TestAdapter) -> Self {
        if adapter.is_ex() {
            Self {
                flags: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, Flags),
                num_ext_hdrs: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, NumExtHdrs),
                handle: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, OffloadHandle),
                udp: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, UdpEspEncapsulation),
                association: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, SecAssoc),
                key_length: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyLength),
            }
        } else {
            Self {
                flags: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Flags),
                num_ext_hdrs: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, NumExtHdrs),
                handle: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle),
                udp: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, UdpEspEncapsulation),
                association: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, SecAssoc),
                key_length: offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyLength),
            }
        }
    }

    fn in_association(&self, member: usize) -> usize {
        self.association + member
    }

    fn in_encryption(&self, member: usize) -> usize {
        self.in_association(
            offset_of!(IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION, EncryptionAlgorithm) + member,
        )
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_pointer(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Each version in turn; afterwards the driver must unload without a trace.
fn in_every_version(test: impl Fn(&TestAdapter)) {
    for version in NdisVersion::ALL {
        let adapter = TestAdapter::start(version);
        test(&adapter);
        adapter.finish();
    }
}

#[test]
fn add_sa_of_every_length() {
    in_every_version(|adapter| {
        let (structure, keys_at) = if adapter.is_ex() {
            (170, 176)
        } else {
            (169, 168)
        };
        let whole = adapter.add_sa_buffer(&good_sa(), Way::Outbound);
        assert_eq!(whole.len(), keys_at + 20);
        for length in 0..whole.len() {
            let result = adapter.add(whole[..length].to_vec());
            assert_eq!(name(&result), INVALID_LENGTH, "{length} bytes");
            let needed = if length < structure {
                structure
            } else {
                whole.len()
            };
            assert_eq!(result.bytes_needed as usize, needed, "{length} bytes");
        }
        // The memory may be there and still not be the driver's to read.
        let request = OidRequest::set(adapter.add_sa_oid(), whole.clone()).declared_length(100);
        assert_eq!(name(&adapter.direct(request)), INVALID_LENGTH);
        let request = OidRequest::set(adapter.add_sa_oid(), Vec::new()).null_buffer();
        assert_eq!(name(&adapter.direct(request)), INVALID_LENGTH);

        let result = adapter.add(whole);
        assert_eq!(name(&result), SUCCESS);
        assert_eq!(name(&adapter.delete(&[adapter.handle(&result)])), SUCCESS);
    });
}

#[test]
fn update_and_delete_of_every_length() {
    in_every_version(|adapter| {
        let handle = adapter.add_one(&good_sa(), Way::Outbound);
        let update = offload::update_sa(handle, IPsecOffloadV2Esp, 0x1000_0001, 1);
        for length in 0..28 {
            let result = adapter.update(update[..length].to_vec());
            assert_eq!(name(&result), INVALID_LENGTH, "{length} bytes");
            assert_eq!(result.bytes_needed, 28);
        }
        let delete = offload::delete_sa(&[handle]).at(0);
        for length in 0..24 {
            let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA;
            let result = adapter.direct(OidRequest::set(oid, delete[..length].to_vec()));
            assert_eq!(name(&result), REQUEST_ABORTED, "{length} bytes");
        }
        assert_eq!(name(&adapter.delete(&[handle])), SUCCESS);
    });
}

#[test]
fn absurd_members_of_add_sa() {
    in_every_version(|adapter| {
        let at = Offsets::of(adapter);
        let esp = |member| at.in_association(member);
        type Association = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION;
        type Algorithm = IPSEC_OFFLOAD_V2_ALGORITHM_INFO;
        let operation = esp(offset_of!(Association, Operation));
        let identifier = at.in_encryption(offset_of!(Algorithm, Identifier));
        let length = at.in_encryption(offset_of!(Algorithm, KeyLength));
        let offset = at.in_encryption(offset_of!(Algorithm, KeyOffsetBytes));
        let icv = at.in_encryption(offset_of!(Algorithm, AdditionalInfo));

        let mut cases: Vec<(&str, usize, u32, &str)> = vec![
            (
                "SPI 0",
                esp(offset_of!(Association, Spi)),
                0,
                INVALID_PARAMETER,
            ),
            ("unknown encryption", identifier, 0x4000_0000, NOT_SUPPORTED),
            ("two encryptions", identifier, 0x18, NOT_SUPPORTED),
            ("no encryption", identifier, 0, INVALID_PARAMETER),
        ];
        for bit in 4..32 {
            cases.push(("unknown UDP-ESP", at.udp, 1 << bit, INVALID_PARAMETER));
        }
        for value in [0, 3, u32::MAX] {
            cases.push(("NumExtHdrs", at.num_ext_hdrs, value, INVALID_PARAMETER));
            cases.push(("Operation", operation, value, INVALID_PARAMETER));
        }
        // Without the second association NumExtHdrs 2 is wrong too.
        cases.push(("NumExtHdrs", at.num_ext_hdrs, 2, INVALID_PARAMETER));
        for bit in (0..32).filter(|bit| ![0, 4].contains(bit)) {
            cases.push(("Flags", at.flags, 1 << bit, INVALID_PARAMETER));
        }
        for bit in 1..32 {
            let flags = esp(offset_of!(Association, Flags));
            cases.push(("association Flags", flags, 1 << bit, INVALID_PARAMETER));
        }
        for value in (0..20).chain([21, 28, 36, u32::MAX]) {
            cases.push(("algorithm KeyLength", length, value, INVALID_PARAMETER));
        }
        for value in [1, 20, 0x7FFF_FFFF, u32::MAX] {
            cases.push(("KeyOffsetBytes", offset, value, INVALID_PARAMETER));
        }
        for value in (0..=20).filter(|icv| ![8, 12, 16].contains(icv)) {
            cases.push(("ICV length", icv, value, INVALID_PARAMETER));
        }
        for value in 0..20 {
            cases.push(("KeyLength", at.key_length, value, INVALID_PARAMETER));
        }
        cases.push(("KeyLength", at.key_length, 21, INVALID_LENGTH));
        cases.push(("KeyLength", at.key_length, u32::MAX, INVALID_PARAMETER));
        if adapter.is_ex() {
            let key_offset = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyOffset);
            for value in [0, 4, 100, 169] {
                cases.push(("KeyOffset", key_offset, value, INVALID_PARAMETER));
            }
            cases.push(("KeyOffset", key_offset, 177, INVALID_LENGTH));
            cases.push(("KeyOffset", key_offset, u32::MAX, INVALID_PARAMETER));
        }
        for (what, at_byte, value, expected) in cases {
            let mut bytes = adapter.add_sa_buffer(&good_sa(), Way::Inbound);
            put(&mut bytes, at_byte, value);
            let result = adapter.add(bytes);
            assert_eq!(name(&result), expected, "{what} {value:#x}");
            assert_eq!(result.buffer[at.handle..at.handle + 8], [0; 8], "{what}");
        }

        for (byte, value) in [(0, 0), (0, 0x81), (1, 0), (2, 168), (2, 0)] {
            let mut bytes = adapter.add_sa_buffer(&good_sa(), Way::Inbound);
            bytes[byte] = value;
            let result = adapter.add(bytes);
            assert_eq!(
                name(&result),
                INVALID_PARAMETER,
                "header byte {byte} = {value}"
            );
        }
    });
}

/// AH with this algorithm.
fn ah(algorithm: Authentication) -> Ah {
    Ah {
        spi: Spi(257),
        authentication: key_of(algorithm),
        esn: false,
        sequence: 1,
        sequence_high: 0,
    }
}

/// What an adapter says in its `NDIS_IPSEC_OFFLOAD_V2`, algorithm by algorithm.
struct Advertised(NDIS_IPSEC_OFFLOAD_V2);

impl Advertised {
    fn by(adapter: &TestAdapter) -> Self {
        Self(
            adapter
                .port
                .adapter
                .offloads()
                .current()
                .unwrap()
                .ipsec_v2(),
        )
    }

    fn encryption(&self, algorithm: Encryption) -> bool {
        self.0.EncryptionAlgorithms & offload::encryption_identifier(algorithm) != 0
    }

    fn authentication(&self, algorithm: Authentication) -> bool {
        self.0.AuthenticationAlgorithms & offload::authentication_identifier(algorithm) != 0
    }

    fn suite(&self, suite: Suite) -> bool {
        self.encryption(suite.encryption)
            && suite
                .authentication
                .is_none_or(|algorithm| self.authentication(algorithm))
    }
}

/// Puts an SA to the adapter for both directions: taken if advertised, refused if not.
fn is_taken_if(adapter: &TestAdapter, advertised: bool, sa: &Sa, what: &str) {
    let expected = if advertised { SUCCESS } else { NOT_SUPPORTED };
    for way in [Way::Inbound, Way::Outbound] {
        let result = adapter.add(adapter.add_sa_buffer(sa, way));
        assert_eq!(name(&result), expected, "{what}");
        if advertised {
            assert_eq!(name(&adapter.delete(&[adapter.handle(&result)])), SUCCESS);
        }
    }
}

/// The capabilities decide: every algorithm that is advertised is taken, every other refused, in
/// ESP, in AH, and in bundles of both; so it is when the keyword `LegacyAlgorithms` adds some.
/// Keys are of the right length throughout, so that nothing else can be the reason.
#[test]
fn what_is_advertised_is_taken_and_nothing_else() {
    let mut counts = Vec::new();
    for (version, legacy) in [
        (NdisVersion::V6_1, "0"),
        (NdisVersion::V6_20, "0"),
        (NdisVersion::V6_30, "0"),
        (NdisVersion::V6_1, "1"),
        (NdisVersion::V6_30, "1"),
    ] {
        let config = AdapterConfig::new(HARDWARE_ID).keyword("LegacyAlgorithms", legacy);
        let adapter = TestAdapter::start_with(version, config);
        let advertised = Advertised::by(&adapter);
        assert_ne!(advertised.0.Esp, 0);

        let suites = Suite::all();
        for suite in &suites {
            let sa = with_suite(*suite);
            is_taken_if(&adapter, advertised.suite(*suite), &sa, &suite.to_string());
        }
        let taken = suites.iter().filter(|suite| advertised.suite(**suite));
        counts.push(taken.count());

        for algorithm in Authentication::ALL {
            let mut sa = good_sa();
            let esp = sa.esp.take();
            sa.ah = Some(ah(algorithm));
            let is_offered = advertised.authentication(algorithm);
            let alone = advertised.0.Ah != 0 && is_offered;
            is_taken_if(&adapter, alone, &sa, &format!("AH, {algorithm:?}"));
            sa.esp = esp;
            let bundle = advertised.0.AhEspCombined != 0 && is_offered;
            let what = format!("AH over AES-GCM, {algorithm:?}");
            is_taken_if(&adapter, bundle, &sa, &what);
        }
        // In a bundle it is enough that AH authenticates.
        for encryption in Encryption::ALL {
            let mut sa = with_suite(encryption.into());
            sa.ah = Some(ah(Authentication::HmacSha256));
            let bundle = advertised.0.AhEspCombined != 0 && advertised.encryption(encryption);
            is_taken_if(&adapter, bundle, &sa, &format!("AH over {encryption:?}"));
        }
        adapter.finish();
    }
    // AES-GCM (3), two HMACs with null encryption and AES-CBC (2 * 4), AES-GMAC (3); legacy
    // algorithms on top: MD5 with each cipher, DES and Triple DES with each HMAC.
    assert_eq!(counts, [14, 14, 14, 24, 24]);
    assert_eq!(Suite::all().len(), 24);
}

#[test]
fn udp_encapsulation_is_taken_if_advertised() {
    in_every_version(|adapter| {
        for (udp_esp, bit) in [
            (
                UdpEsp::Transport,
                IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
            ),
            (
                UdpEsp::Tunnel,
                IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
            ),
            (
                UdpEsp::TransportOverUdpTunnel,
                IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL,
            ),
            (
                UdpEsp::UdpTransportOverTunnel,
                IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL,
            ),
        ] {
            let mut sa = good_sa();
            sa.udp_esp = udp_esp;
            let is_offered = Advertised::by(adapter).0.UdpEsp & bit != 0;
            is_taken_if(adapter, is_offered, &sa, &format!("{udp_esp:?}"));
        }
    });
}

/// "One or more of the following flags"; and "UDP ESP" is one header, so that AH has none of them.
#[test]
fn udp_encapsulations_may_be_combined() {
    in_every_version(|adapter| {
        let at = Offsets::of(adapter);
        for flags in 0..16 {
            let mut bytes = adapter.add_sa_buffer(&good_sa(), Way::Inbound);
            put(&mut bytes, at.udp, flags);
            let result = adapter.add(bytes);
            assert_eq!(name(&result), SUCCESS, "{flags:#x}");
            assert_eq!(name(&adapter.delete(&[adapter.handle(&result)])), SUCCESS);

            let mut bundle = good_sa();
            bundle.ah = Some(ah(Authentication::HmacSha256));
            let mut bytes = adapter.add_sa_buffer(&bundle, Way::Inbound);
            put(&mut bytes, at.udp, flags);
            let result = adapter.add(bytes);
            let expected = if flags == 0 {
                SUCCESS
            } else {
                INVALID_PARAMETER
            };
            assert_eq!(name(&result), expected, "{flags:#x}");
            if flags == 0 {
                assert_eq!(name(&adapter.delete(&[adapter.handle(&result)])), SUCCESS);
            }
        }
    });
}

/// "If the IPsec header is ESP, it must be authenticated."
#[test]
fn esp_without_authentication_is_refused() {
    in_every_version(|adapter| {
        for encryption in Encryption::ALL.into_iter().filter(|e| !e.is_gcm()) {
            for way in [Way::Inbound, Way::Outbound] {
                let sa = with_suite(encryption.into());
                let result = adapter.add(adapter.add_sa_buffer(&sa, way));
                assert_eq!(name(&result), INVALID_PARAMETER, "{encryption:?}");
            }
        }
    });
}

#[test]
fn requests_that_the_version_does_not_have() {
    in_every_version(|adapter| {
        let other = if adapter.is_ex() {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA
        } else {
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX
        };
        let bytes = adapter.add_sa_buffer(&good_sa(), Way::Outbound);
        for oid in [other, 0xFC03_0299, 0] {
            let result = adapter.direct(OidRequest::set(oid, bytes.clone()));
            assert_eq!(name(&result), NOT_SUPPORTED, "{oid:#x}");
        }
        for oid in [
            adapter.add_sa_oid(),
            OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
        ] {
            let result = adapter.direct(OidRequest::query(oid, 256));
            assert_eq!(name(&result), NOT_SUPPORTED, "query of {oid:#x}");
        }
    });
}

/// A wrong `Next`, from the address and the length of the buffer.
type WrongNext = fn(usize, usize) -> usize;

#[test]
fn absurd_lists_of_sas_to_add() {
    for version in [NdisVersion::V6_1, NdisVersion::V6_20] {
        let adapter = TestAdapter::start(version);
        let sas = [with_spi(0x1001), with_spi(0x1002), with_spi(0x1003)];
        let all: Vec<&Sa> = sas.iter().collect();
        let list = offload::add_sa(&all, Way::Inbound).unwrap();
        let offsets = list.offsets().to_vec();
        // (element whose Next is wrong, the wrong value relative to the buffer's address)
        let length = list.len();
        let wrong: [(usize, WrongNext); 9] = [
            (0, |base, length| base + length),
            (0, |base, length| base + length - 8),
            (0, |base, _| base - 8),
            (0, |base, _| base + 193),
            (0, |base, _| base),
            (1, |base, _| base),
            (2, |base, _| base + 192),
            (0, |_, _| 8),
            (1, |_, _| usize::MAX - 7),
        ];
        for (index, (element, next)) in wrong.into_iter().enumerate() {
            let (copy, at) = (list.clone(), offsets[element] + NEXT);
            let request = OidRequest::set_with(
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
                length,
                move |base, bytes| {
                    bytes.copy_from_slice(&copy.at(base as usize));
                    put_pointer(bytes, at, next(base as usize, length));
                },
            );
            let result = adapter.direct(request);
            assert_eq!(name(&result), INVALID_PARAMETER, "case {index}");
        }

        // One bad SA among good ones: the good ones are offloaded, the bad one has no handle.
        let mut mixed = sas.clone();
        mixed[1].esp.as_mut().unwrap().encryption.key.pop();
        let all: Vec<&Sa> = mixed.iter().collect();
        let list = offload::add_sa(&all, Way::Inbound).unwrap();
        let offsets = list.offsets().to_vec();
        let result = adapter.list(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, list);
        assert_eq!(name(&result), SUCCESS);
        let handles: Vec<_> = offsets
            .iter()
            .map(|at| offload::handle_at(&result.buffer, at + offload::ADD_SA_HANDLE).unwrap())
            .collect();
        assert!(
            handles[0] != 0 && handles[1] == 0 && handles[2] != 0,
            "{handles:?}"
        );
        assert_eq!(name(&adapter.delete(&handles)), SUCCESS);

        // Only bad ones: the request fails, none was offloaded.
        let mut bad = sas.clone();
        for sa in &mut bad {
            sa.esp.as_mut().unwrap().encryption.key.pop();
        }
        let all: Vec<&Sa> = bad.iter().collect();
        let list = offload::add_sa(&all, Way::Inbound).unwrap();
        let offsets = list.offsets().to_vec();
        let result = adapter.list(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, list);
        assert_eq!(name(&result), INVALID_PARAMETER);
        for at in offsets {
            let handle = offload::handle_at(&result.buffer, at + offload::ADD_SA_HANDLE);
            assert_eq!(handle, Some(0));
        }
        adapter.finish();
    }
}

#[test]
fn a_full_table_takes_no_more() {
    const CAPACITY: usize = 5;
    for version in NdisVersion::ALL {
        let config = AdapterConfig::new(HARDWARE_ID).keyword("SaOffloadCapacity", "5");
        let adapter = TestAdapter::start_with(version, config);
        assert_eq!(adapter.port.offers().unwrap().capacity, CAPACITY);
        let mut handles: Vec<_> = (0..CAPACITY)
            .map(|n| adapter.add_one(&with_spi(0x2000 + n as u32), Way::Inbound))
            .collect();
        let more = adapter.add_sa_buffer(&with_spi(0x3000), Way::Outbound);
        assert_eq!(name(&adapter.add(more.clone())), RESOURCES);

        // One place free, two wanted.
        assert_eq!(name(&adapter.delete(&handles[4..])), SUCCESS);
        handles.truncate(4);
        if adapter.is_ex() {
            handles.push(adapter.add_one(&with_spi(0x3000), Way::Outbound));
        } else {
            let two = [with_spi(0x3000), with_spi(0x3001)];
            let list = offload::add_sa(&[&two[0], &two[1]], Way::Outbound).unwrap();
            let offsets = list.offsets().to_vec();
            let result = adapter.list(OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, list);
            assert_eq!(name(&result), SUCCESS);
            let handle = |at| {
                offload::handle_at(&result.buffer, offsets[at] + offload::ADD_SA_HANDLE).unwrap()
            };
            assert!(handle(0) != 0 && handle(1) == 0);
            handles.push(handle(0));
        }
        assert_eq!(name(&adapter.add(more)), RESOURCES);
        assert_eq!(name(&adapter.delete(&handles)), SUCCESS);
        adapter.finish();
    }
}

/// Handles near and far from a real one, and one whose SA has gone.
fn wrong_handles(real: usize, stale: usize) -> Vec<usize> {
    let mut handles: Vec<usize> = (0..64).map(|bit| real ^ 1 << bit).collect();
    handles.extend([stale, 1, usize::MAX, usize::MAX - 1, 0xFFFF_8000_0000_0000]);
    handles.retain(|&handle| handle != 0 && handle != real);
    handles
}

#[test]
fn forged_and_stale_handles_of_updates_and_deletes() {
    in_every_version(|adapter| {
        let mut esn = good_sa();
        esn.esp.as_mut().unwrap().esn = true;
        let stale = adapter.add_one(&esn, Way::Outbound);
        assert_eq!(name(&adapter.delete(&[stale])), SUCCESS);
        let real = adapter.add_one(&esn, Way::Outbound);
        assert_ne!(real, stale);
        let spi = 0x1000_0001;
        let update =
            |handle, operation, spi| adapter.update(offload::update_sa(handle, operation, spi, 1));
        for handle in wrong_handles(real, stale) {
            let result = update(handle, IPsecOffloadV2Esp, spi);
            assert_eq!(name(&result), INVALID_PARAMETER, "{handle:#x}");
            assert_eq!(name(&adapter.delete(&[handle])), SUCCESS, "{handle:#x}");
        }
        assert_eq!(name(&update(0, IPsecOffloadV2Esp, spi)), INVALID_PARAMETER);
        assert_eq!(
            name(&update(real, IPsecOffloadV2Ah, spi)),
            INVALID_PARAMETER
        );
        assert_eq!(name(&update(real, 3, spi)), INVALID_PARAMETER);
        assert_eq!(
            name(&update(real, IPsecOffloadV2Esp, spi + 1)),
            INVALID_PARAMETER
        );
        // After all of that the SA is still there.
        assert_eq!(name(&update(real, IPsecOffloadV2Esp, spi)), SUCCESS);

        // Wrong ones in a list do not protect the right one behind them.
        let mut list = wrong_handles(real, stale);
        list.push(real);
        assert_eq!(name(&adapter.delete(&list)), SUCCESS);
        assert_eq!(
            name(&update(real, IPsecOffloadV2Esp, spi)),
            INVALID_PARAMETER
        );

        // Without ESN there is nothing to update.
        let short = adapter.add_one(&good_sa(), Way::Outbound);
        assert_eq!(
            name(&update(short, IPsecOffloadV2Esp, spi)),
            INVALID_PARAMETER
        );
        assert_eq!(name(&adapter.delete(&[short])), SUCCESS);
    });
}

/// "Halt leaves no SA": a handle of before names nothing afterwards.
#[test]
fn handles_do_not_outlive_a_halt() {
    in_every_version(|adapter| {
        let mut esn = good_sa();
        esn.esp.as_mut().unwrap().esn = true;
        let handle = adapter.add_one(&esn, Way::Outbound);
        adapter.port.adapter.halt().unwrap();
        adapter.port.adapter.enable().unwrap();
        let update = |high| {
            let bytes = offload::update_sa(handle, IPsecOffloadV2Esp, 0x1000_0001, high);
            name(&adapter.update(bytes))
        };
        assert_eq!(update(1), INVALID_PARAMETER);
        assert_eq!(name(&adapter.delete(&[handle])), SUCCESS);
        // The adapter is as good as new.
        let handle = adapter.add_one(&esn, Way::Outbound);
        assert_eq!(name(&adapter.delete(&[handle])), SUCCESS);
        assert_eq!(update(1), INVALID_PARAMETER);
    });
}

#[test]
fn absurd_lists_of_sas_to_delete() {
    in_every_version(|adapter| {
        let mut esn = good_sa();
        esn.esp.as_mut().unwrap().esn = true;
        let wrong: [fn(usize) -> usize; 6] = [
            |base| base,
            |base| base + 48,
            |base| base + 25,
            |base| base - 8,
            |_| 8,
            |_| usize::MAX - 7,
        ];
        for (index, next) in wrong.into_iter().enumerate() {
            let [first, second] = [(); 2].map(|()| adapter.add_one(&esn, Way::Outbound));
            let list = offload::delete_sa(&[first, second]);
            let request = OidRequest::set_with(
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
                list.len(),
                move |base, bytes| {
                    bytes.copy_from_slice(&list.at(base as usize));
                    put_pointer(bytes, NEXT, next(base as usize));
                },
            );
            assert_eq!(
                name(&adapter.direct(request)),
                REQUEST_ABORTED,
                "case {index}"
            );
            // What stood before the break is gone, what could not be reached is there.
            let update = |handle| {
                let bytes = offload::update_sa(handle, IPsecOffloadV2Esp, 0x1000_0001, 1);
                name(&adapter.update(bytes))
            };
            assert_eq!(update(first), INVALID_PARAMETER, "case {index}");
            assert_eq!(update(second), SUCCESS, "case {index}");
            assert_eq!(name(&adapter.delete(&[second])), SUCCESS);
        }
        let oid = OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA;
        let result = adapter.direct(OidRequest::query(oid, 24));
        assert_eq!(name(&result), "NDIS_STATUS_NOT_ACCEPTED");
    });
}
