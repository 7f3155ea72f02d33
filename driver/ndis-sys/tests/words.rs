//! The helpers that the crate adds to the bare declarations.

use ndis_sys::*;

type Receive = NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE;
type Header = NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT;

#[test]
fn bit_fields_are_where_the_compiler_of_the_wdk_puts_them() {
    let receive = Receive::default()
        .with(Receive::SaDeleteReq, 1)
        .with(Receive::NextCryptoDone, 1)
        .with(Receive::CryptoStatus, CRYPTO_INVALID_PROTOCOL);
    assert_eq!(receive.Bits, 0x0007_0005);
    assert_eq!(receive.get(Receive::CryptoDone), 0);
    assert_eq!(receive.get(Receive::CryptoStatus), CRYPTO_INVALID_PROTOCOL);
    assert_eq!(Receive::CryptoStatus.mask(), 0xFFFF_0000);

    let header = Header::default()
        .with(Header::NextHeader, 6)
        .with(Header::PadLength, 2)
        .with(Header::AhHeaderOffset, 5)
        .with(Header::EspHeaderOffset, 11);
    assert_eq!(header.Bits, 0x0B05_0206);
}

#[test]
fn setting_a_bit_field_leaves_its_neighbours_alone() {
    let mut word = Header { Bits: u32::MAX };
    word.set(Header::PadLength, 0x1_23);
    assert_eq!(word.Bits, 0xFFFF_23FF);

    let mut luid = NET_LUID_INFO { Bits: 0 };
    luid.set(NET_LUID_INFO::IfType, u64::from(IF_TYPE_ETHERNET_CSMACD));
    luid.set(NET_LUID_INFO::NetLuidIndex, u64::MAX);
    assert_eq!(luid.Bits, 0x0006_FFFF_FF00_0000);
}

#[test]
fn words_pass_through_the_slots_of_a_list() {
    let mut nbl = NET_BUFFER_LIST::ZERO;
    let word = Receive::default().with(Receive::CryptoDone, 1);
    // SAFETY: the list is whole and the slot below its maximum.
    unsafe {
        *NET_BUFFER_LIST_INFO(&raw mut nbl, IPsecOffloadV2NetBufferListInfo) = word.to_info();
        assert_eq!(
            Receive::from_info(*NET_BUFFER_LIST_INFO(
                &raw mut nbl,
                IPsecOffloadV2NetBufferListInfo
            )),
            word
        );
    }
    assert_eq!(nbl.NetBufferListInfo[1].addr(), 2);
}

#[test]
fn context_data_start_after_the_head_and_the_backfill() {
    #[repr(C)]
    struct Context {
        head: NET_BUFFER_LIST_CONTEXT,
        data: [u8; 32],
    }
    let mut context = Context {
        head: NET_BUFFER_LIST_CONTEXT {
            Size: 32,
            Offset: 8,
            ..Zero::ZERO
        },
        data: [0; 32],
    };
    let context = &raw mut context;
    let mut nbl = NET_BUFFER_LIST {
        Context: context.cast(),
        ..Zero::ZERO
    };
    // SAFETY: the list and its context are whole.
    unsafe {
        let start = NET_BUFFER_LIST_CONTEXT_DATA_START(&raw mut nbl);
        assert_eq!(start.addr(), (&raw mut (*context).data).addr() + 8);
    }
}

#[test]
fn a_received_header_may_be_newer_or_longer_but_not_less() {
    let kind = ObjectKind::OidRequest;
    let revision = kind.revision(NdisVersion::V6_1).expect("as old as NDIS 6");
    let header = |ty, revision, size| NDIS_OBJECT_HEADER {
        Type: ty,
        Revision: revision,
        Size: size,
    };
    assert!(kind.accepts(revision, header(NDIS_OBJECT_TYPE_OID_REQUEST, 1, 236)));
    assert!(
        kind.accepts(revision, header(NDIS_OBJECT_TYPE_OID_REQUEST, 1, 233)),
        "the headers of Vista SP1"
    );
    assert!(kind.accepts(revision, header(NDIS_OBJECT_TYPE_OID_REQUEST, 2, 248)));
    assert!(!kind.accepts(revision, header(NDIS_OBJECT_TYPE_OID_REQUEST, 1, 232)));
    assert!(!kind.accepts(revision, header(NDIS_OBJECT_TYPE_OID_REQUEST, 0, 236)));
    assert!(!kind.accepts(revision, header(NDIS_OBJECT_TYPE_DEFAULT, 1, 236)));
    assert!(
        ObjectKind::IpsecOffloadV2AddSaEx
            .header(NdisVersion::V6_20)
            .is_none()
    );
}

#[test]
fn flags_are_tested_as_the_macros_do() {
    assert!(NDIS_TEST_SEND_AT_DISPATCH_LEVEL(
        NDIS_SEND_FLAGS_DISPATCH_LEVEL | NDIS_SEND_FLAGS_CHECK_FOR_LOOPBACK
    ));
    assert!(!NDIS_TEST_SEND_AT_DISPATCH_LEVEL(
        NDIS_SEND_FLAGS_CHECK_FOR_LOOPBACK
    ));
    assert!(NDIS_TEST_RETURN_AT_DISPATCH_LEVEL(
        NDIS_RETURN_FLAGS_DISPATCH_LEVEL
    ));
    assert!(NDIS_TEST_RECEIVE_CANNOT_PEND(NDIS_RECEIVE_FLAGS_RESOURCES));
    assert!(!NDIS_TEST_RECEIVE_CANNOT_PEND(
        NDIS_RECEIVE_FLAGS_DISPATCH_LEVEL
    ));
}
