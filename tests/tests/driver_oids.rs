//! The OIDs of an Ethernet miniport: what is listed is answered, lengths are told right, bad values
//! are refused with the documented status, and offload settings are what NDIS is told they are.

use ipsecov2_tests::{
    adapter::TestAdapter,
    switch::{Switch, SwitchPort, VERSIONS, config, frame},
};
use ndis_sys::*;
use tcpip::{lab::NdisVersion, offload::Way, sas::SaFile};

/// Every OID that is set only.
const SET_ONLY: [u32; 10] = [
    OID_GEN_LINK_PARAMETERS,
    OID_802_3_MULTICAST_LIST,
    OID_OFFLOAD_ENCAPSULATION,
    OID_TCP_OFFLOAD_PARAMETERS,
    OID_PM_PARAMETERS,
    OID_PNP_SET_POWER,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA,
    OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA,
];

/// "Mandatory OIDs for miniport drivers", those that the miniport gets.
const MANDATORY_QUERIES: [u32; 13] = [
    OID_GEN_INTERRUPT_MODERATION,
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
];

#[test]
fn what_is_listed_is_answered_and_buffers_are_respected() {
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let listed = port.adapter.supported_oids();
        for oid in MANDATORY_QUERIES {
            assert!(listed.contains(&oid), "{oid:#x} is not listed");
        }
        let (here, elsewhere) = if version < 630 {
            (
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
            )
        } else {
            (
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX,
                OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA,
            )
        };
        assert!(listed.contains(&here) && !listed.contains(&elsewhere));
        for oid in listed.into_iter().filter(|oid| !SET_ONLY.contains(oid)) {
            let whole = port.query(oid, 512);
            assert_eq!(whole.status, NDIS_STATUS_SUCCESS, "{oid:#x}");
            let len = whole.bytes_written as usize;
            // NDIS fills what it answers itself; the miniport must leave the rest alone.
            let exact = port.query(oid, len);
            assert_eq!(
                (exact.status, exact.bytes_written as usize),
                (NDIS_STATUS_SUCCESS, len)
            );
            if let Some(short) = len.checked_sub(1).filter(|&short| short != 4) {
                let result = port.query(oid, short);
                if result.status == NDIS_STATUS_SUCCESS {
                    assert_eq!((len, result.bytes_written), (8, 4), "{oid:#x}");
                    continue;
                }
                assert!(
                    [NDIS_STATUS_BUFFER_TOO_SHORT, NDIS_STATUS_INVALID_LENGTH]
                        .contains(&result.status),
                    "{oid:#x}: {:#x}",
                    result.status
                );
                assert_eq!(result.bytes_needed as usize, len, "{oid:#x}");
            }
        }
        switch.finish();
    }
}

#[test]
fn what_is_not_there_is_not_supported() {
    let switch = Switch::new(610);
    let port = switch.port();
    for oid in [
        0,
        OID_GEN_RECEIVE_SCALE_PARAMETERS,
        OID_TCP_TASK_IPSEC_ADD_SA,
        0xff01_0203,
    ] {
        assert_eq!(
            port.query(oid, 64).status,
            NDIS_STATUS_NOT_SUPPORTED,
            "{oid:#x}"
        );
        assert_eq!(
            port.set(oid, &[0; 64]).status,
            NDIS_STATUS_NOT_SUPPORTED,
            "{oid:#x}"
        );
    }
    switch.finish();
}

#[test]
fn sets_with_wrong_lengths_or_values_change_nothing() {
    let switch = Switch::new(610);
    let port = switch.port();
    for (oid, data, status, needed) in [
        (
            OID_GEN_CURRENT_PACKET_FILTER,
            vec![1, 0, 0],
            NDIS_STATUS_INVALID_LENGTH,
            4,
        ),
        (
            OID_GEN_CURRENT_PACKET_FILTER,
            vec![0x41, 0, 0, 0],
            NDIS_STATUS_NOT_SUPPORTED,
            0,
        ),
        (
            OID_GEN_CURRENT_LOOKAHEAD,
            vec![0; 3],
            NDIS_STATUS_INVALID_LENGTH,
            4,
        ),
        (OID_GEN_VLAN_ID, vec![0; 2], NDIS_STATUS_INVALID_LENGTH, 4),
        (
            OID_GEN_VLAN_ID,
            vec![0xff, 0x0f, 0, 0],
            NDIS_STATUS_INVALID_DATA,
            0,
        ),
        (
            OID_GEN_VLAN_ID,
            vec![0, 0, 1, 0],
            NDIS_STATUS_INVALID_DATA,
            0,
        ),
        (
            OID_802_3_MULTICAST_LIST,
            vec![1; 7],
            NDIS_STATUS_INVALID_LENGTH,
            0,
        ),
        (
            OID_802_3_MULTICAST_LIST,
            vec![2; 6],
            NDIS_STATUS_INVALID_DATA,
            0,
        ),
        (
            OID_802_3_MULTICAST_LIST,
            (0..33).flat_map(|n| [1, 0, 0x5e, 0, 0, n]).collect(),
            NDIS_STATUS_MULTICAST_FULL,
            0,
        ),
        (
            OID_GEN_LINK_PARAMETERS,
            vec![0; 31],
            NDIS_STATUS_INVALID_LENGTH,
            32,
        ),
        (
            OID_GEN_LINK_PARAMETERS,
            vec![0; 32],
            NDIS_STATUS_INVALID_DATA,
            0,
        ),
        (
            OID_GEN_INTERRUPT_MODERATION,
            vec![0; 12],
            NDIS_STATUS_INVALID_DATA,
            0,
        ),
        (
            OID_TCP_OFFLOAD_PARAMETERS,
            vec![0x80, 2, 22],
            NDIS_STATUS_INVALID_LENGTH,
            20,
        ),
        (
            OID_OFFLOAD_ENCAPSULATION,
            vec![0xa8, 1, 28, 0],
            NDIS_STATUS_INVALID_LENGTH,
            28,
        ),
    ] {
        let result = port.set(oid, &data);
        assert_eq!(result.status, status, "{oid:#x} {data:x?}");
        if needed != 0 {
            assert_eq!(result.bytes_needed, needed, "{oid:#x}");
        }
    }
    assert_eq!(port.query(OID_GEN_VLAN_ID, 4).u32(), Some(0));
    switch.finish();
}

#[test]
fn link_parameters_that_the_wire_has_are_accepted() {
    let switch = Switch::new(610);
    let port = switch.port();
    let mut wanted = [0; 32];
    wanted[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 1, 32, 0]);
    // All negotiated.
    wanted[28] = 0xf;
    assert_eq!(
        port.set(OID_GEN_LINK_PARAMETERS, &wanted).status,
        NDIS_STATUS_SUCCESS
    );
    // 10 Mbit/s, half duplex.
    wanted[28] = 0;
    wanted[4] = MediaDuplexStateHalf as u8;
    wanted[8..16].copy_from_slice(&10_000_000_u64.to_le_bytes());
    wanted[16..24].copy_from_slice(&10_000_000_u64.to_le_bytes());
    assert_eq!(
        port.set(OID_GEN_LINK_PARAMETERS, &wanted).status,
        NDIS_STATUS_NOT_SUPPORTED
    );
    switch.finish();
}

#[test]
fn statistics_are_exact() {
    let switch = Switch::new(610);
    let (a, b) = (switch.port(), switch.port());
    b.filter(
        NDIS_PACKET_TYPE_DIRECTED | NDIS_PACKET_TYPE_BROADCAST | NDIS_PACKET_TYPE_ALL_MULTICAST,
    );
    for (destination, lengths) in [
        (b.adapter.mac(), vec![60, 100, 1514]),
        ([0xff; 6], vec![70, 80]),
        ([1, 0, 0x5e, 0, 0, 1], vec![90]),
        // Nobody's.
        ([2, 9, 9, 9, 9, 9], vec![64]),
    ] {
        for length in lengths {
            a.send_frame(&frame(destination, a.adapter.mac(), length));
        }
    }
    assert_eq!(b.received().len(), 6);
    for (port, oid, expected) in [
        (&a, OID_GEN_XMIT_OK, 7),
        (&a, OID_GEN_DIRECTED_FRAMES_XMIT, 4),
        (&a, OID_GEN_DIRECTED_BYTES_XMIT, 60 + 100 + 1514 + 64),
        (&a, OID_GEN_BROADCAST_FRAMES_XMIT, 2),
        (&a, OID_GEN_BROADCAST_BYTES_XMIT, 150),
        (&a, OID_GEN_MULTICAST_FRAMES_XMIT, 1),
        (&a, OID_GEN_MULTICAST_BYTES_XMIT, 90),
        (&a, OID_GEN_BYTES_XMIT, 60 + 100 + 1514 + 64 + 150 + 90),
        (&a, OID_GEN_XMIT_ERROR, 0),
        (&a, OID_GEN_RCV_OK, 0),
        (&b, OID_GEN_RCV_OK, 6),
        (&b, OID_GEN_DIRECTED_FRAMES_RCV, 3),
        (&b, OID_GEN_DIRECTED_BYTES_RCV, 60 + 100 + 1514),
        (&b, OID_GEN_BROADCAST_FRAMES_RCV, 2),
        (&b, OID_GEN_MULTICAST_BYTES_RCV, 90),
        (&b, OID_GEN_BYTES_RCV, 60 + 100 + 1514 + 150 + 90),
        (&b, OID_GEN_RCV_ERROR, 0),
        (&b, OID_GEN_RCV_NO_BUFFER, 0),
        (&b, OID_GEN_XMIT_OK, 0),
    ] {
        assert_eq!(port.counter(oid), expected, "{oid:#x}");
    }
    let all = b.query(OID_GEN_STATISTICS, 152);
    let word = |at: usize| u64::from_le_bytes(all.data()[at..at + 8].try_into().unwrap());
    // ifHCInOctets, ifHCInUcastPkts, ifHCInMulticastPkts, ifHCInBroadcastPkts.
    assert_eq!([word(24), word(32), word(40), word(48)], [1914, 3, 1, 2]);
    switch.finish();
}

fn parameters(ipsec_v2: u8) -> Vec<u8> {
    let mut bytes = vec![0; 22];
    bytes[..4].copy_from_slice(&[NDIS_OBJECT_TYPE_DEFAULT, 2, 22, 0]);
    bytes[20] = ipsec_v2;
    bytes
}

fn encapsulation(v4: u32, v6: u32, kind: u32) -> Vec<u8> {
    let mut bytes = vec![NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION, 1, 28, 0];
    for enabled in [v4, v6] {
        let on = enabled == NDIS_OFFLOAD_SET_ON;
        for word in [enabled, if on { kind } else { 0 }, if on { 14 } else { 0 }] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

/// Esp and IPv6Supported, as NDIS tracks them.
fn current(port: &SwitchPort) -> (u8, u8, u8) {
    let offload = port.adapter.offloads().current().unwrap().ipsec_v2();
    (offload.Ah, offload.Esp, offload.IPv6Supported)
}

#[test]
fn offload_settings_are_what_ndis_is_told() {
    const ON: u32 = NDIS_OFFLOAD_SET_ON;
    const OFF: u32 = NDIS_OFFLOAD_SET_OFF;
    const SAME: u32 = NDIS_OFFLOAD_SET_NO_CHANGE;
    const ETHERNET: u32 = NDIS_ENCAPSULATION_IEEE_802_3;
    for version in VERSIONS {
        let switch = Switch::new(version);
        let port = switch.port();
        let mut indications = port.adapter.offloads().indications();
        assert_eq!(current(&port), (1, 1, 1));
        for (oid, data, expected) in [
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(ON, ON, ETHERNET),
                (1, 1, 1),
            ),
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(SAME, OFF, ETHERNET),
                (1, 1, 0),
            ),
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(SAME, ON, ETHERNET),
                (1, 1, 1),
            ),
            // The structure cannot say "IPv6 without IPv4".
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(OFF, SAME, ETHERNET),
                (0, 0, 0),
            ),
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(ON, ON, ETHERNET),
                (1, 1, 1),
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(NDIS_OFFLOAD_PARAMETERS_IPSECV2_DISABLED),
                (0, 0, 0),
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(NDIS_OFFLOAD_PARAMETERS_NO_CHANGE),
                (0, 0, 0),
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_ENABLED),
                (1, 0, 1),
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(NDIS_OFFLOAD_PARAMETERS_IPSECV2_ESP_ENABLED),
                (0, 1, 1),
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(NDIS_OFFLOAD_PARAMETERS_IPSECV2_AH_AND_ESP_ENABLED),
                (1, 1, 1),
            ),
        ] {
            assert_eq!(
                port.set(oid, &data).status,
                NDIS_STATUS_SUCCESS,
                "{data:x?}"
            );
            assert_eq!(current(&port), expected, "{oid:#x} {data:x?}");
            indications += 1;
            assert_eq!(
                port.adapter.offloads().indications(),
                indications,
                "{data:x?}"
            );
        }
        for (oid, data, status) in [
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(ON, ON, NDIS_ENCAPSULATION_IEEE_LLC_SNAP_ROUTED),
                NDIS_STATUS_INVALID_PARAMETER,
            ),
            (
                OID_OFFLOAD_ENCAPSULATION,
                encapsulation(3, SAME, ETHERNET),
                NDIS_STATUS_INVALID_PARAMETER,
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                parameters(5),
                NDIS_STATUS_INVALID_DATA,
            ),
            (
                OID_TCP_OFFLOAD_PARAMETERS,
                {
                    let mut v1 = parameters(0);
                    v1[10] = NDIS_OFFLOAD_PARAMETERS_IPSECV1_AH_ENABLED;
                    v1
                },
                NDIS_STATUS_NOT_SUPPORTED,
            ),
        ] {
            assert_eq!(port.set(oid, &data).status, status, "{data:x?}");
            assert_eq!(
                current(&port),
                (1, 1, 1),
                "a refused request changed something"
            );
            assert_eq!(port.adapter.offloads().indications(), indications);
        }
        switch.finish();
    }
}

#[test]
fn the_keyword_decides_what_is_offered() {
    let switch = Switch::new(610);
    for (value, ah, esp) in [("0", 0, 0), ("1", 1, 0), ("2", 0, 1), ("3", 1, 1)] {
        let port = switch.port_with(config().keyword("*IPsecOffloadV2", value));
        let offloads = port.adapter.offloads();
        let default = offloads.default_config().unwrap().ipsec_v2();
        let (any, both) = (ah | esp, ah & esp);
        assert_eq!((default.Ah, default.Esp), (ah, esp), "{value}");
        assert_eq!(default.AhEspCombined, both, "{value}");
        assert_eq!(default.Tunnel, any, "{value}");
        assert_eq!(default.Encapsulation != 0, any == 1, "{value}");
        assert_eq!(default.EncryptionAlgorithms != 0, esp == 1, "{value}");
        // The hardware could do it all the same.
        let hardware = offloads.hardware().unwrap().ipsec_v2();
        assert_eq!((hardware.Ah, hardware.Esp, hardware.Transport), (1, 1, 1));
        assert_eq!((hardware.Tunnel, hardware.TransportTunnelCombined), (1, 1));
        assert_eq!(hardware.ExtendedSequenceNumbers, 1);
    }
    switch.finish();
}

/// Broken ciphers and hashes: neither offered nor taken, unless the administrator asks for them.
#[test]
fn legacy_algorithms_are_off_unless_switched_on() {
    const DES: u32 = IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC | IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC;
    const MD5: u32 = IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5;
    let file = SaFile::parse(
        r#"{ "version": 1, "sas": [{ "name": "old", "source": "10.0.0.1", "destination": "10.0.0.2",
            "esp": { "spi": 256,
                "encryption": { "algorithm": "des-cbc", "key": "0123456789abcdef" },
                "authentication": { "algorithm": "hmac-md5-96", "key": "000102030405060708090a0b0c0d0e0f" } } }] }"#,
    )
    .unwrap();
    for version in NdisVersion::ALL {
        for (value, on) in [
            (None, false),
            (Some("0"), false),
            (Some("1"), true),
            (Some("2"), false),
        ] {
            let mut adapter_config = config();
            if let Some(value) = value {
                adapter_config = adapter_config.keyword("LegacyAlgorithms", value);
            }
            let adapter = TestAdapter::start_with(version, adapter_config);
            let offloads = adapter.port.adapter.offloads();
            for offload in [offloads.current().unwrap(), offloads.hardware().unwrap()] {
                let offload = offload.ipsec_v2();
                assert_eq!(offload.EncryptionAlgorithms & DES, if on { DES } else { 0 });
                assert_eq!(
                    offload.AuthenticationAlgorithms & MD5,
                    if on { MD5 } else { 0 }
                );
            }
            for way in [Way::Inbound, Way::Outbound] {
                let added = adapter.add(adapter.add_sa_buffer(&file.sas[0], way));
                let expected = if on {
                    NDIS_STATUS_SUCCESS
                } else {
                    NDIS_STATUS_NOT_SUPPORTED
                };
                assert_eq!(added.status, expected, "{value:?}");
            }
            adapter.finish();
        }
    }
}
