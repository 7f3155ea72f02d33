//! Buffers that are right and buffers that are wrong, by the offsets of the public headers.

use std::mem::offset_of;

use ipsec::{Direction, EncryptionAlgorithm, Endpoints, Operation, SaHandle, UdpEncapsulation};
use ndis_sys::*;
use oid_buffers::{AddSaEx, AddSaList, Refusal, UpdateSa, delete_sa, udp_esp_bit};

const KEY: [u8; 20] = *b"0123456789abcdefsalt";
const INVALID: Refusal = Refusal::Status(NDIS_STATUS_INVALID_PARAMETER);

/// Bytes at an address that structures may have.
#[repr(align(16))]
struct Aligned<const N: usize>([u8; N]);

fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn long(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, value.to_le_bytes());
}

fn header(bytes: &mut [u8], at: usize, size: usize) {
    put(bytes, at, [NDIS_OBJECT_TYPE_DEFAULT, 1, size as u8, 0]);
}

/// An association of ESP with AES-GCM, whose key is the first.
fn association(bytes: &mut [u8], at: usize) {
    type Association = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION;
    type Info = IPSEC_OFFLOAD_V2_ALGORITHM_INFO;
    long(
        bytes,
        at + offset_of!(Association, Operation),
        IPsecOffloadV2Esp as u32,
    );
    long(bytes, at + offset_of!(Association, Spi), 0x1234_5678);
    let info = at + offset_of!(Association, EncryptionAlgorithm);
    long(
        bytes,
        info + offset_of!(Info, Identifier),
        IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
    );
    long(bytes, info + offset_of!(Info, KeyLength), KEY.len() as u32);
    long(bytes, info + offset_of!(Info, AdditionalInfo), 16);
}

/// Bytes from one element of a list to the next.
const STRIDE: usize = 192;

/// `N / STRIDE` SAs, one after the other. They are linked by address, so that the buffer must not move.
fn list<const N: usize>() -> Box<Aligned<N>> {
    let mut buffer = Box::new(Aligned([0; N]));
    let address = buffer.0.as_ptr().addr();
    for at in (0..N).step_by(STRIDE) {
        let bytes = &mut buffer.0;
        header(bytes, at, NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1);
        long(
            bytes,
            at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, NumExtHdrs),
            1,
        );
        put(
            bytes,
            at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Endpoints),
            [1, 2, 3, 4, 5, 6, 7, 8],
        );
        association(bytes, at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, SecAssoc));
        long(
            bytes,
            at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyLength),
            KEY.len() as u32,
        );
        put(
            bytes,
            at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData),
            KEY,
        );
        if at + STRIDE < N {
            link(bytes, at, address + at + STRIDE);
        }
    }
    buffer
}

fn link(bytes: &mut [u8], at: usize, next: usize) {
    put(
        bytes,
        at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next),
        next.to_le_bytes(),
    );
}

fn handle(number: u64) -> SaHandle {
    SaHandle::from_raw(number).unwrap()
}

fn handle_at(bytes: &[u8], at: usize) -> u64 {
    let at = at + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle);
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn an_sa_is_read_as_it_was_written() {
    let mut buffer = list::<STRIDE>();
    let flags = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Flags);
    long(&mut buffer.0, flags, IPSEC_OFFLOAD_V2_INBOUND);
    let read = AddSaList::new(&mut buffer.0).unwrap().offload(|add| {
        add.with_params(|params| {
            assert_eq!(params.direction, Direction::Inbound);
            let endpoints = Endpoints::V4 {
                source: [1, 2, 3, 4],
                destination: [5, 6, 7, 8],
            };
            assert_eq!(params.endpoints, endpoints);
            assert!(params.udp_encapsulation.is_empty());
            let [association] = params.associations else {
                panic!("{params:?}");
            };
            assert_eq!(
                (association.operation, association.spi),
                (Operation::Esp, 0x1234_5678)
            );
            assert!(!association.extended_sequence_numbers && association.authentication.is_none());
            let encryption = association.encryption.unwrap();
            assert_eq!(encryption.identifier, EncryptionAlgorithm::AesGcm128);
            assert_eq!((encryption.key, encryption.additional_info), (&KEY[..], 16));
        });
        Ok(handle(7))
    });
    assert_eq!(read, Ok(STRIDE));
    assert_eq!(handle_at(&buffer.0, 0), 7);
}

#[test]
fn a_list_succeeds_if_one_sa_was_offloaded() {
    let mut buffer = list::<{ 3 * STRIDE }>();
    let mut count = 0;
    let read = AddSaList::new(&mut buffer.0).unwrap().offload(|_| {
        count += 1;
        if count == 2 {
            Ok(handle(9))
        } else {
            Err(NDIS_STATUS_RESOURCES)
        }
    });
    assert_eq!(read, Ok(3 * STRIDE));
    assert_eq!(
        [0, 1, 2].map(|at| handle_at(&buffer.0, at * STRIDE)),
        [0, 9, 0]
    );
}

#[test]
fn a_list_of_failures_fails_with_the_first() {
    let mut buffer = list::<{ 2 * STRIDE }>();
    let at = STRIDE + offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle);
    put(&mut buffer.0, at, [0xFF; 8]);
    let mut statuses = [NDIS_STATUS_NOT_SUPPORTED, NDIS_STATUS_RESOURCES].into_iter();
    let list = AddSaList::new(&mut buffer.0).unwrap();
    assert_eq!(
        list.offload(|_| Err(statuses.next().unwrap())),
        Err(NDIS_STATUS_NOT_SUPPORTED)
    );
    assert_eq!(
        handle_at(&buffer.0, STRIDE),
        0,
        "a null handle for what was not offloaded"
    );
}

#[test]
fn a_list_that_leaves_the_buffer_offloads_nothing() {
    let mut buffer = list::<{ 2 * STRIDE }>();
    let address = buffer.0.as_ptr().addr();
    let last = address + 2 * STRIDE - 168;
    for next in [
        1,
        address - STRIDE,
        last,
        address + STRIDE + 4,
        usize::MAX - 7,
        address,
    ] {
        link(&mut buffer.0, STRIDE, next);
        let before = buffer.0;
        assert_eq!(
            AddSaList::new(&mut buffer.0).err(),
            Some(INVALID),
            "{next:#x}"
        );
        assert_eq!(buffer.0, before);
    }
}

#[test]
fn a_short_buffer_says_how_long_it_must_be() {
    let whole = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData) + KEY.len();
    for length in 0..whole {
        let mut buffer = list::<STRIDE>();
        let size = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1;
        let needed = if length < size { size } else { whole };
        let refusal = AddSaList::new(&mut buffer.0[..length]).err();
        assert_eq!(refusal, Some(Refusal::TooShort(needed)), "{length}");
    }
    assert!(AddSaList::new(&mut list::<STRIDE>().0[..whole]).is_ok());
}

#[test]
fn members_of_an_sa_that_cannot_be() {
    type Sa = IPSEC_OFFLOAD_V2_ADD_SA;
    type Info = IPSEC_OFFLOAD_V2_ALGORITHM_INFO;
    type Association = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION;
    let association = offset_of!(Sa, SecAssoc);
    let encryption = association + offset_of!(Association, EncryptionAlgorithm);
    let wrong = [
        (offset_of!(Sa, NumExtHdrs), 0),
        (offset_of!(Sa, NumExtHdrs), 3),
        (offset_of!(Sa, Flags), 2),
        (offset_of!(Sa, UdpEspEncapsulation), 0x10),
        (association + offset_of!(Association, Flags), 2),
        (association + offset_of!(Association, Operation), 0),
        (association + offset_of!(Association, Operation), 3),
        (
            encryption + offset_of!(Info, KeyLength),
            KEY.len() as u32 + 1,
        ),
        (encryption + offset_of!(Info, KeyOffsetBytes), 1),
        (encryption + offset_of!(Info, KeyOffsetBytes), u32::MAX),
        // Revision 0; another object; shorter than revision 1.
        (0, 0x00A9_0080),
        (0, 0x00A9_0181),
        (0, 0x00A8_0180),
    ];
    for (at, value) in wrong {
        let mut buffer = list::<STRIDE>();
        long(&mut buffer.0, at, value);
        let result = AddSaList::new(&mut buffer.0)
            .unwrap()
            .offload(|_| panic!("offered"));
        assert_eq!(
            result,
            Err(NDIS_STATUS_INVALID_PARAMETER),
            "{at} {value:#x}"
        );
    }
    let mut buffer = list::<STRIDE>();
    long(
        &mut buffer.0,
        encryption + offset_of!(Info, Identifier),
        0x200,
    );
    let result = AddSaList::new(&mut buffer.0)
        .unwrap()
        .offload(|_| panic!("offered"));
    assert_eq!(result, Err(NDIS_STATUS_NOT_SUPPORTED));
}

#[test]
fn every_subtype_of_udp_encapsulation_is_read() {
    for subtype in UdpEncapsulation::ALL {
        let mut buffer = list::<STRIDE>();
        let at = offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, UdpEspEncapsulation);
        long(&mut buffer.0, at, udp_esp_bit(subtype));
        let added = AddSaList::new(&mut buffer.0).unwrap().offload(|add| {
            add.with_params(|params| assert_eq!(params.udp_encapsulation, subtype.into()));
            Ok(handle(1))
        });
        assert!(added.is_ok());
    }
}

#[test]
fn the_keys_of_add_sa_ex_are_where_it_says_and_not_within_it() {
    const SIZE: usize = NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1;
    for (offset, expected) in [
        (SIZE, Ok(())),
        (200, Ok(())),
        (220, Ok(())),
        (0, Err(INVALID)),
        (SIZE - 1, Err(INVALID)),
        (221, Err(Refusal::TooShort(241))),
        (u32::MAX as usize, Err(INVALID)),
    ] {
        let mut buffer = Aligned([0; 240]);
        let bytes = &mut buffer.0;
        header(bytes, 0, SIZE);
        long(bytes, offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, NumExtHdrs), 1);
        association(bytes, offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, SecAssoc));
        long(
            bytes,
            offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyLength),
            KEY.len() as u32,
        );
        long(
            bytes,
            offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, KeyOffset),
            offset as u32,
        );
        if offset + KEY.len() <= bytes.len() && offset >= SIZE {
            put(bytes, offset, KEY);
        }
        let result = AddSaEx::new(bytes).and_then(|one| {
            let added = one.offload(|add| {
                add.with_params(|params| {
                    assert_eq!(params.associations[0].encryption.unwrap().key, KEY);
                });
                Ok(handle(5))
            });
            added
                .map(|read| assert_eq!(read, 240))
                .map_err(Refusal::Status)
        });
        assert_eq!(result, expected, "{offset}");
    }
}

#[test]
fn handles_are_deleted_up_to_where_the_list_breaks() {
    const SIZE: usize = size_of::<IPSEC_OFFLOAD_V2_DELETE_SA>();
    for (next, expected) in [(0, Ok(3 * SIZE)), (1, Err(NDIS_STATUS_REQUEST_ABORTED))] {
        let mut buffer = Aligned([0; 3 * SIZE]);
        let address = buffer.0.as_ptr().addr();
        for index in 0..3 {
            let number = [3_u64, 0, 4][index];
            put(&mut buffer.0, index * SIZE + 16, number.to_le_bytes());
            if index < 2 {
                link(&mut buffer.0, index * SIZE, address + (index + 1) * SIZE);
            }
        }
        link(&mut buffer.0, 2 * SIZE, next);
        let mut deleted = Vec::new();
        let result = delete_sa(&buffer.0, |handle| deleted.push(handle.to_raw()));
        assert_eq!((result, deleted), (expected, vec![3, 4]));
    }
    assert_eq!(
        delete_sa(&[], |_| panic!("a handle")),
        Err(NDIS_STATUS_REQUEST_ABORTED)
    );
}

#[test]
fn an_update_is_read() {
    let mut buffer = [0; UpdateSa::SIZE];
    header(&mut buffer, 0, UpdateSa::SIZE);
    put(&mut buffer, 8, 77_u64.to_le_bytes());
    long(&mut buffer, 16, IPsecOffloadV2Ah as u32);
    long(&mut buffer, 20, 0x0A0B_0C0D);
    long(&mut buffer, 24, 3);
    let expected = UpdateSa {
        handle: handle(77),
        operation: Operation::Ah,
        spi: 0x0A0B_0C0D,
        sequence_number_high: 3,
    };
    assert_eq!(UpdateSa::parse(&buffer), Ok(expected));
    for length in 0..buffer.len() {
        let refusal = Refusal::TooShort(UpdateSa::SIZE);
        assert_eq!(UpdateSa::parse(&buffer[..length]), Err(refusal));
    }
    for (at, value) in [(0, 0), (8, 0), (16, 0), (16, 3)] {
        let mut wrong = buffer;
        put(&mut wrong, at, u64::to_le_bytes(value));
        assert_eq!(UpdateSa::parse(&wrong), Err(INVALID), "{at}");
    }
}
