//! NDISTest 6.0 - [2 Machine] - 2c_OidsNdisRequest.

use std::{collections::BTreeSet, mem::offset_of};

use ipsecov2_tests::{
    hlk::{Case, Job},
    switch::{Switch, SwitchPort, VERSIONS, check},
};
use ndis_sim::ndis::{OidRequest, OidResult};
use ndis_sys::*;

/// What a query of an OID is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// So many bytes.
    Bytes(usize),
    /// 64 bits, or the low 32 of them where there is no room.
    Counter,
    /// It is not queried, or not from the miniport.
    None,
}
use Answer::{Bytes, Counter};

/// Every OID that the driver lists.
const OIDS: [(u32, Answer); 52] = [
    (OID_GEN_HARDWARE_STATUS, Bytes(4)),
    (OID_GEN_TRANSMIT_BUFFER_SPACE, Bytes(4)),
    (OID_GEN_RECEIVE_BUFFER_SPACE, Bytes(4)),
    (OID_GEN_TRANSMIT_BLOCK_SIZE, Bytes(4)),
    (OID_GEN_RECEIVE_BLOCK_SIZE, Bytes(4)),
    (OID_GEN_VENDOR_ID, Bytes(4)),
    // "IPsec Task Offload Version 2 Virtual Ethernet" and its terminator.
    (OID_GEN_VENDOR_DESCRIPTION, Bytes(46)),
    (OID_GEN_VENDOR_DRIVER_VERSION, Bytes(4)),
    (OID_GEN_CURRENT_PACKET_FILTER, Bytes(4)),
    (OID_GEN_CURRENT_LOOKAHEAD, Bytes(4)),
    (OID_GEN_DRIVER_VERSION, Bytes(2)),
    (OID_GEN_MAXIMUM_TOTAL_SIZE, Bytes(4)),
    (OID_GEN_LINK_PARAMETERS, Answer::None),
    (
        OID_GEN_INTERRUPT_MODERATION,
        Bytes(NDIS_SIZEOF_INTERRUPT_MODERATION_PARAMETERS_REVISION_1),
    ),
    (OID_GEN_VLAN_ID, Bytes(4)),
    (OID_GEN_XMIT_OK, Counter),
    (OID_GEN_RCV_OK, Counter),
    (OID_GEN_XMIT_ERROR, Counter),
    (OID_GEN_RCV_ERROR, Counter),
    (OID_GEN_RCV_NO_BUFFER, Counter),
    (
        OID_GEN_STATISTICS,
        Bytes(NDIS_SIZEOF_STATISTICS_INFO_REVISION_1),
    ),
    (OID_GEN_TRANSMIT_QUEUE_LENGTH, Counter),
    (OID_GEN_DIRECTED_BYTES_XMIT, Counter),
    (OID_GEN_DIRECTED_FRAMES_XMIT, Counter),
    (OID_GEN_MULTICAST_BYTES_XMIT, Counter),
    (OID_GEN_MULTICAST_FRAMES_XMIT, Counter),
    (OID_GEN_BROADCAST_BYTES_XMIT, Counter),
    (OID_GEN_BROADCAST_FRAMES_XMIT, Counter),
    (OID_GEN_DIRECTED_BYTES_RCV, Counter),
    (OID_GEN_DIRECTED_FRAMES_RCV, Counter),
    (OID_GEN_MULTICAST_BYTES_RCV, Counter),
    (OID_GEN_MULTICAST_FRAMES_RCV, Counter),
    (OID_GEN_BROADCAST_BYTES_RCV, Counter),
    (OID_GEN_BROADCAST_FRAMES_RCV, Counter),
    (OID_GEN_BYTES_RCV, Counter),
    (OID_GEN_BYTES_XMIT, Counter),
    (OID_GEN_RCV_DISCARDS, Counter),
    (OID_GEN_XMIT_DISCARDS, Counter),
    (OID_802_3_PERMANENT_ADDRESS, Bytes(6)),
    (OID_802_3_CURRENT_ADDRESS, Bytes(6)),
    (OID_802_3_MULTICAST_LIST, Bytes(0)),
    (OID_802_3_MAXIMUM_LIST_SIZE, Bytes(4)),
    (OID_OFFLOAD_ENCAPSULATION, Answer::None),
    (OID_TCP_OFFLOAD_PARAMETERS, Answer::None),
    (
        OID_PNP_CAPABILITIES,
        Bytes(size_of::<NDIS_PNP_CAPABILITIES>()),
    ),
    (OID_PNP_QUERY_POWER, Bytes(0)),
    (OID_PNP_SET_POWER, Answer::None),
    (OID_PM_PARAMETERS, Answer::None),
    (OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA, Answer::None),
    (OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX, Answer::None),
    (OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA, Answer::None),
    (OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA, Answer::None),
];

/// "Mandatory" on the pages of the OIDs, for NDIS 6.0 miniports that NDIS asks.
const MANDATORY: [u32; 15] = [
    OID_GEN_INTERRUPT_MODERATION,
    OID_GEN_LINK_PARAMETERS,
    OID_GEN_MAXIMUM_TOTAL_SIZE,
    OID_GEN_RCV_OK,
    OID_GEN_RECEIVE_BLOCK_SIZE,
    OID_GEN_RECEIVE_BUFFER_SPACE,
    OID_GEN_STATISTICS,
    OID_GEN_TRANSMIT_BLOCK_SIZE,
    OID_GEN_TRANSMIT_BUFFER_SPACE,
    OID_GEN_VENDOR_DESCRIPTION,
    OID_GEN_VENDOR_DRIVER_VERSION,
    OID_GEN_VENDOR_ID,
    OID_GEN_XMIT_OK,
    OID_802_3_PERMANENT_ADDRESS,
    OID_802_3_CURRENT_ADDRESS,
];

/// What the buffers of the tests are filled with before.
const UNTOUCHED: u8 = 0xA5;

fn name(oid: u32) -> String {
    let constants = tables::CONSTANTS.iter().copied().flatten();
    constants
        .filter(|constant| constant.name.starts_with("OID_"))
        .find(|constant| constant.value as u32 == oid)
        .map_or_else(|| format!("{oid:#010x}"), |found| found.name.to_owned())
}

/// The job.
pub fn job() -> Job {
    let mut cases = vec![
        Case::new(
            "OID_GEN_SUPPORTED_LIST",
            "the list has every mandatory OID, none twice, and what is in it",
            |_| supported_list(),
        ),
        Case::new(
            "OIDs that are not in the list",
            "they are not supported, neither queried nor set, and their buffers are left alone",
            |_| unlisted(),
        ),
        Case::new(
            "wrong types of requests",
            "what can only be queried is not set, what can only be set is not queried, and there are no methods",
            |_| wrong_types(),
        ),
    ];
    for (oid, answer) in OIDS {
        if answer != Answer::None {
            cases.push(Case::new(
                format!("query {}", name(oid)),
                "BytesWritten and BytesNeeded are exact with short, exact, long and misaligned buffers; nothing else is written",
                move |_| query(oid, answer),
            ));
        }
    }
    for of in settable(630) {
        cases.push(Case::new(
            format!("set {}", name(of.oid)),
            "BytesRead and BytesNeeded are exact with short, exact, long and misaligned buffers; the buffer is not written",
            move |_| set(of.oid),
        ));
    }
    Job {
        name: "NDISTest 6.0 - [2 Machine] - 2c_OidsNdisRequest",
        requirement: "Device.Network.LAN.Base.NDISRequirements",
        checks: "the supported list is complete, and every OID of it reports lengths right and keeps to its buffer",
        cases,
    }
}

/// The OIDs that a driver of this version lists.
fn listed(version: u32) -> BTreeSet<u32> {
    let absent = match version {
        610 => vec![OID_PM_PARAMETERS, OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX],
        620 => vec![OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX],
        _ => vec![OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA],
    };
    let oids = OIDS.into_iter().map(|(oid, _)| oid);
    oids.filter(|oid| !absent.contains(oid)).collect()
}

fn supported_list() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let list = port.adapter.supported_oids();
        let unique: BTreeSet<_> = list.iter().copied().collect();
        assert_eq!(unique.len(), list.len(), "an OID is listed twice");
        for oid in MANDATORY {
            assert!(unique.contains(&oid), "{} is not listed", name(oid));
        }
        assert_eq!(unique, listed(version), "NDIS {version}");
        // The query says the same.
        let bytes = list.len() * 4;
        let answer = port.query(OID_GEN_SUPPORTED_LIST, bytes);
        assert_eq!(answer.bytes_written as usize, bytes);
        let words: Vec<_> = list.iter().flat_map(|oid| oid.to_le_bytes()).collect();
        assert_eq!(answer.data(), words);
        drop(port);
        switch.finish();
    }
}

/// OIDs that NDIS answers in the miniport's stead.
const OF_NDIS: [u32; 19] = [
    OID_TCP_OFFLOAD_CURRENT_CONFIG,
    OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES,
    OID_OFFLOAD_ENCAPSULATION,
    OID_GEN_SUPPORTED_LIST,
    OID_GEN_MEDIA_SUPPORTED,
    OID_GEN_MEDIA_IN_USE,
    OID_GEN_PHYSICAL_MEDIUM,
    OID_GEN_PHYSICAL_MEDIUM_EX,
    OID_GEN_MAXIMUM_LOOKAHEAD,
    OID_GEN_MAXIMUM_FRAME_SIZE,
    OID_GEN_MAC_OPTIONS,
    OID_GEN_LINK_SPEED,
    OID_GEN_MAX_LINK_SPEED,
    OID_GEN_MEDIA_CONNECT_STATUS,
    OID_GEN_LINK_STATE,
    OID_GEN_CURRENT_PACKET_FILTER,
    OID_802_3_MULTICAST_LIST,
    OID_GEN_HARDWARE_STATUS,
    OID_GEN_DRIVER_VERSION,
];

fn unlisted() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let listed = listed(version);
        let known = tables::CONSTANTS.iter().copied().flatten();
        let known = known.filter(|constant| constant.name.starts_with("OID_"));
        let known = known.map(|constant| constant.value as u32);
        let absurd = [0, 1, 0xff01_0203, u32::MAX];
        let oids: BTreeSet<u32> = known.chain(absurd).collect();
        let mut count = 0;
        for oid in oids {
            // DELETE_SA and UPDATE_SA are of another path, and are listed.
            if listed.contains(&oid) {
                continue;
            }
            count += 1;
            // NDIS makes an OID_802_3_MULTICAST_LIST of the first two. There is nothing that the others could
            // remove, and Driver Verifier restricts how they may end.
            if [
                OID_802_3_ADD_MULTICAST_ADDRESS,
                OID_802_3_DELETE_MULTICAST_ADDRESS,
                OID_PM_REMOVE_WOL_PATTERN,
                OID_PM_REMOVE_PROTOCOL_OFFLOAD,
            ]
            .contains(&oid)
            {
                continue;
            }
            let result = port.set(oid, &[UNTOUCHED; 64]);
            assert_eq!(result.status, NDIS_STATUS_NOT_SUPPORTED, "{}", name(oid));
            assert_eq!(result.buffer, [UNTOUCHED; 64], "{}", name(oid));
            if OF_NDIS.contains(&oid) || oid == OID_PM_PARAMETERS {
                continue;
            }
            let result = port.query(oid, 64);
            assert_eq!(result.status, NDIS_STATUS_NOT_SUPPORTED, "{}", name(oid));
            assert_eq!(result.bytes_written, 0, "{}", name(oid));
            assert_eq!(result.buffer, [UNTOUCHED; 64], "{}", name(oid));
        }
        assert!(count > 40, "only {count} OIDs are not listed");
        drop(port);
        switch.finish();
    }
}

fn wrong_types() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let settable: BTreeSet<_> = settable(version).iter().map(|of| of.oid).collect();
        // OID_PNP_SET_POWER is set and nothing else: Driver Verifier restricts how it may end.
        for (oid, answer) in OIDS
            .into_iter()
            .filter(|(oid, _)| *oid != OID_PNP_SET_POWER)
        {
            if answer != Answer::None
                && !settable.contains(&oid)
                && oid != OID_GEN_INTERRUPT_MODERATION
            {
                let result = port.set(oid, &[UNTOUCHED; 64]);
                assert_eq!(result.status, NDIS_STATUS_NOT_SUPPORTED, "{}", name(oid));
                assert_eq!(result.buffer, [UNTOUCHED; 64]);
            }
            if answer == Answer::None && !OF_NDIS.contains(&oid) && oid != OID_PM_PARAMETERS {
                let result = port.query(oid, 64);
                assert_ne!(result.status, NDIS_STATUS_SUCCESS, "{}", name(oid));
                assert_eq!(result.buffer, [UNTOUCHED; 64]);
            }
            let method = OidRequest::method(oid, vec![UNTOUCHED; 64], 64);
            let result = check(port.open.oid(method));
            assert_ne!(result.status, NDIS_STATUS_SUCCESS, "{}", name(oid));
            assert_eq!(result.buffer, [UNTOUCHED; 64]);
        }
        // "The miniport driver should return NDIS_STATUS_INVALID_DATA in response to the set request".
        let result = port.set(OID_GEN_INTERRUPT_MODERATION, &[UNTOUCHED; 64]);
        assert_eq!(result.status, NDIS_STATUS_INVALID_DATA);
        drop(port);
        switch.finish();
    }
}

/// A query with so much room, in a buffer so far from its natural alignment. What lies behind the room, and
/// behind what was written, must be as it was.
fn ask(port: &SwitchPort, oid: u32, room: usize, misaligned: usize) -> OidResult {
    let request = OidRequest::query(oid, room).misaligned(misaligned);
    let result = check(port.open.oid(request));
    assert_eq!(result.address % 8, misaligned as u64);
    let written = result.bytes_written as usize;
    assert!(written <= room, "{room} bytes: {written} written");
    let rest = &result.buffer[written..];
    assert!(
        rest.iter().all(|&byte| byte == UNTOUCHED),
        "{room} bytes: more was written than {written}"
    );
    result
}

fn query(oid: u32, answer: Answer) {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let len = match answer {
            Bytes(len) => len,
            Counter => 8,
            Answer::None => return,
        };
        for misaligned in [0, 4, 1] {
            let exact = ask(&port, oid, len, misaligned);
            assert_eq!(exact.status, NDIS_STATUS_SUCCESS);
            assert_eq!(exact.bytes_written as usize, len);
            for room in [len + 1, len + 3, 2 * len + 64] {
                let long = ask(&port, oid, room, misaligned);
                assert_eq!(long.status, NDIS_STATUS_SUCCESS, "{room} bytes");
                assert_eq!(long.data(), exact.data(), "{room} bytes");
            }
            for room in 0..len {
                let short = ask(&port, oid, room, misaligned);
                if answer == Counter && room >= 4 {
                    assert_eq!(short.status, NDIS_STATUS_SUCCESS, "{room} bytes");
                    assert_eq!((short.bytes_written, short.bytes_needed), (4, 8));
                    continue;
                }
                let refused = [NDIS_STATUS_BUFFER_TOO_SHORT, NDIS_STATUS_INVALID_LENGTH];
                assert!(
                    refused.contains(&short.status),
                    "{room}: {:#x}",
                    short.status
                );
                assert_eq!(short.bytes_written, 0, "{room} bytes");
                assert_eq!(short.bytes_needed as usize, len, "{room} bytes");
            }
        }
        let none = check(port.open.oid(OidRequest::query(oid, 0).null_buffer()));
        assert_eq!(none.status == NDIS_STATUS_SUCCESS, len == 0);
        drop(port);
        switch.finish();
    }
}

/// A good value for a set request.
struct Settable {
    oid: u32,
    bytes: Vec<u8>,
    /// What a buffer that is too short ends with, and whether BytesNeeded is told then.
    short: (i32, bool),
}

fn settable(version: u32) -> Vec<Settable> {
    let header = |kind: u8, revision: u8, size: usize| {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&[kind, revision, size as u8, 0]);
        bytes
    };
    let of = |oid, bytes| Settable {
        oid,
        bytes,
        short: (NDIS_STATUS_INVALID_LENGTH, true),
    };
    let mut link = header(
        NDIS_OBJECT_TYPE_DEFAULT,
        1,
        NDIS_SIZEOF_LINK_PARAMETERS_REVISION_1,
    );
    // All of it negotiated.
    link[offset_of!(NDIS_LINK_PARAMETERS, AutoNegotiationFlags)] = 0xf;
    let mut all = vec![
        of(OID_GEN_CURRENT_PACKET_FILTER, 0xb_u32.to_le_bytes().into()),
        of(OID_GEN_CURRENT_LOOKAHEAD, 256_u32.to_le_bytes().into()),
        of(OID_GEN_VLAN_ID, 5_u32.to_le_bytes().into()),
        of(OID_GEN_LINK_PARAMETERS, link),
        of(
            OID_OFFLOAD_ENCAPSULATION,
            tcpip::offload::encapsulation(NDIS_OFFLOAD_SET_ON).to_vec(),
        ),
        of(
            OID_TCP_OFFLOAD_PARAMETERS,
            header(
                NDIS_OBJECT_TYPE_DEFAULT,
                1,
                NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_1,
            ),
        ),
        // "One of the following values": it has no status for a short buffer but this.
        Settable {
            oid: OID_PNP_SET_POWER,
            bytes: NdisDeviceStateD0.to_le_bytes().into(),
            short: (NDIS_STATUS_NOT_ACCEPTED, false),
        },
        // Any number of addresses is one that could be meant.
        Settable {
            oid: OID_802_3_MULTICAST_LIST,
            bytes: vec![1, 0, 0x5e, 0, 0, 1],
            short: (NDIS_STATUS_INVALID_LENGTH, false),
        },
    ];
    if version >= 620 {
        let size = NDIS_SIZEOF_NDIS_PM_PARAMETERS_REVISION_1;
        let parameters = header(NDIS_OBJECT_TYPE_DEFAULT, 1, size);
        all.push(of(OID_PM_PARAMETERS, parameters));
    }
    all
}

fn set(oid: u32) {
    for version in VERSIONS {
        let Some(of) = settable(version).into_iter().find(|of| of.oid == oid) else {
            continue;
        };
        let switch = Switch::new(version);
        let port = switch.port();
        let give = |bytes: &[u8], misaligned| {
            let request = OidRequest::set(oid, bytes).misaligned(misaligned);
            let result = check(port.open.oid(request));
            assert_eq!(result.address % 8, misaligned as u64);
            assert_eq!(
                result.buffer[..bytes.len()],
                *bytes,
                "the buffer is written"
            );
            result
        };
        let len = of.bytes.len();
        for misaligned in [0, 4, 1] {
            let exact = give(&of.bytes, misaligned);
            assert_eq!(exact.status, NDIS_STATUS_SUCCESS);
            assert_eq!(exact.bytes_read as usize, len);
            for room in 0..len {
                // An empty list is a list.
                if oid == OID_802_3_MULTICAST_LIST && room == 0 {
                    continue;
                }
                let short = give(&of.bytes[..room], misaligned);
                let (status, tells) = of.short;
                assert_eq!(short.status, status, "{room} bytes");
                if tells {
                    assert_eq!(short.bytes_needed as usize, len, "{room} bytes");
                }
            }
            if oid == OID_802_3_MULTICAST_LIST {
                continue;
            }
            let long = give(&[&of.bytes[..], &[0; 8]].concat(), misaligned);
            assert_eq!(long.status, NDIS_STATUS_SUCCESS);
            assert_eq!(long.bytes_read as usize, len);
        }
        drop(port);
        switch.finish();
    }
}
