//! The OID buffers, byte by byte against the offsets of ndis.h.

use tcpip::{
    offload::{Way, add_sa, add_sa_ex, delete_sa, update_sa},
    sas::SaFile,
};

fn sas() -> SaFile {
    SaFile::parse(
        r#"{ "version": 1, "sas": [
        { "name": "4", "source": "192.0.2.1", "destination": "192.0.2.2",
          "esp": { "spi": "0x10000001", "encryption": { "algorithm": "aes-gcm-128",
                   "key": "000102030405060708090a0b0c0d0e0f", "salt": "a0a1a2a3", "icv_length": 12 } } },
        { "name": "6", "source": "2001:db8::1", "destination": "2001:db8::2", "udp_esp": "transport",
          "esp": { "spi": 256, "encryption": { "algorithm": "aes-cbc-128", "key": "101112131415161718191a1b1c1d1e1f" },
                   "authentication": { "algorithm": "hmac-sha-1-96", "key": "202122232425262728292a2b2c2d2e2f30313233" },
                   "esn": true, "sequence_high": 9 },
          "ah": { "spi": 257, "authentication": { "algorithm": "aes-gmac-128",
                  "key": "404142434445464748494a4b4c4d4e4f", "salt": "50515253" } } }
    ] }"#,
    )
    .unwrap()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn add_sa_list() {
    let sas = sas().sas;
    let list = add_sa(&[&sas[0], &sas[1]], Way::Inbound).unwrap();
    let bytes = list.at(0x1000);
    assert_eq!(bytes.len(), list.len());
    assert_eq!(list.offsets(), [0, 192]);

    let first = &bytes[..192];
    assert_eq!(first[..4], [0x80, 1, 169, 0]);
    assert_eq!(u64_at(first, 8), 0x1000 + 192);
    assert_eq!((u32_at(first, 16), u32_at(first, 20)), (1, 0x01));
    assert_eq!(first[24..32], [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(first[32..56], [0; 24]);
    assert_eq!((u64_at(first, 56), u32_at(first, 64)), (0, 0));
    let association = &first[68..116];
    assert_eq!(
        (0..12)
            .map(|n| u32_at(association, 4 * n))
            .collect::<Vec<_>>(),
        [0, 2, 0x1000_0001, 0, 0, 0, 0, 0x8, 20, 0, 12, 0]
    );
    assert_eq!(first[116..164], [0; 48]);
    assert_eq!(u32_at(first, 164), 20);
    assert_eq!(first[168..184], (0..16).collect::<Vec<u8>>());
    assert_eq!(first[184..188], [0xA0, 0xA1, 0xA2, 0xA3]);

    let second = &bytes[192..];
    assert_eq!(u64_at(second, 8), 0);
    assert_eq!((u32_at(second, 16), u32_at(second, 20)), (2, 0x11));
    assert_eq!(second[24..26], [0x20, 0x01]);
    assert_eq!((second[39], second[55]), (1, 2));
    assert_eq!(u32_at(second, 64), 1);
    assert_eq!(
        (0..12)
            .map(|n| u32_at(&second[68..], 4 * n))
            .collect::<Vec<_>>(),
        [1, 2, 256, 0x2, 20, 16, 0, 0x40, 16, 0, 0, 9]
    );
    assert_eq!(
        (0..12)
            .map(|n| u32_at(&second[116..], 4 * n))
            .collect::<Vec<_>>(),
        [0, 1, 257, 0x8, 20, 36, 16, 0, 0, 0, 0, 0]
    );
    assert_eq!(u32_at(second, 164), 16 + 20 + 20);
    assert_eq!((second[168], second[184], second[204]), (0x10, 0x20, 0x40));
}

#[test]
fn add_sa_ex_buffer() {
    let sas = sas().sas;
    let bytes = add_sa_ex(&sas[0], Way::Outbound).unwrap();
    assert_eq!(bytes.len(), 176 + 20);
    assert_eq!(bytes[..4], [0x80, 1, 170, 0]);
    assert_eq!((u32_at(&bytes, 4), u32_at(&bytes, 8)), (1, 0));
    assert_eq!(bytes[12..20], [192, 0, 2, 1, 192, 0, 2, 2]);
    assert_eq!(u32_at(&bytes, 60 + 8), 0x1000_0001);
    assert_eq!((u32_at(&bytes, 156), u32_at(&bytes, 160)), (20, 176));
    assert_eq!(bytes[176..192], (0..16).collect::<Vec<u8>>());
}

#[test]
fn delete_and_update_buffers() {
    let list = delete_sa(&[0x1111, 0x2222]).at(0x4000);
    assert_eq!(list[..4], [0x80, 1, 24, 0]);
    assert_eq!((u64_at(&list, 8), u64_at(&list, 16)), (0x4018, 0x1111));
    assert_eq!((u64_at(&list, 32), u64_at(&list, 40)), (0, 0x2222));

    let update = update_sa(0x33, 2, 0x1000_0001, 5);
    assert_eq!(update[..4], [0x80, 1, 28, 0]);
    assert_eq!(u64_at(&update, 8), 0x33);
    assert_eq!(
        [16, 20, 24].map(|at| u32_at(&update, at)),
        [2, 0x1000_0001, 5]
    );
}
