//! The documented format of `sas.json`.

use tcpip::{
    algorithm::{Authentication, Encryption},
    sas::{Direction, Mode, SaFile, Spi, UdpEsp},
};

/// An SA of every kind that the interface has.
const EVERY_KIND: &str = r#"{
  "version": 1,
  "sas": [
    { "name": "plain", "source": "192.0.2.1", "destination": "192.0.2.2",
      "esp": { "spi": "0x10000001",
               "encryption": { "algorithm": "aes-gcm-128", "key": "000102030405060708090a0b0c0d0e0f",
                               "salt": "01020304", "icv_length": 12 } } },
    { "name": "anyone", "ip_version": 6, "direction": "inbound",
      "esp": { "spi": 256, "encryption": { "algorithm": "null" },
               "authentication": { "algorithm": "aes-gmac-256", "key": "00", "salt": "01020304" },
               "esn": true, "sequence": 4294967295, "sequence_high": 7 } },
    { "name": "bundle", "mode": "tunnel", "direction": "outbound",
      "source": "2001:db8::1", "destination": "2001:db8::2",
      "selector": { "source": "10.0.0.0/8", "destination": "0.0.0.0/0" },
      "esp": { "spi": "257", "encryption": { "algorithm": "aes-cbc-256", "key": "00" },
               "authentication": { "algorithm": "hmac-sha-256-128", "key": "00" } },
      "ah": { "spi": 258, "authentication": { "algorithm": "hmac-sha-1-96", "key": "00" } },
      "udp_esp": "tunnel", "udp_ports": { "source": 4500, "destination": 4501 },
      "pair": "anyone" },
    { "name": "inside", "source": "192.0.2.1", "destination": "192.0.2.2", "tunnel": "bundle",
      "ah": { "spi": 259, "authentication": { "algorithm": "hmac-md5-96", "key": "00" } } }
  ]
}"#;

#[test]
fn every_kind_is_read_and_written() {
    let file = SaFile::parse(EVERY_KIND).unwrap();
    let [plain, anyone, bundle, inside] = file.sas.as_slice() else {
        panic!("four SAs")
    };
    let esp = plain.esp.as_ref().unwrap();
    assert_eq!(esp.encryption.algorithm, Encryption::AesGcm128);
    assert_eq!((esp.iv_len(), esp.icv_len(), esp.sequence), (8, 12, 1));
    assert_eq!(plain.direction, Direction::Both);
    assert_eq!(esp.spi, Spi(0x1000_0001));

    let esp = anyone.esp.as_ref().unwrap();
    let authentication = esp.authentication.as_ref().unwrap();
    assert_eq!(authentication.algorithm, Authentication::AesGmac256);
    assert_eq!((esp.iv_len(), esp.icv_len()), (8, 16));
    assert!(esp.esn && anyone.is_ipv6().unwrap());
    assert_eq!((esp.sequence, esp.sequence_high), (u32::MAX, 7));

    assert_eq!(
        (bundle.mode, bundle.udp_esp),
        (Mode::Tunnel, UdpEsp::Tunnel)
    );
    let esp = bundle.esp.as_ref().unwrap();
    assert_eq!((esp.iv_len(), esp.icv_len()), (16, 16));
    assert_eq!(inside.tunnel.as_deref(), Some("bundle"));

    assert_eq!(SaFile::parse(&file.to_json().unwrap()).unwrap(), file);
}

#[test]
fn mistakes_are_named() {
    for (change, message) in [
        (("\"version\": 1", "\"version\": 2"), "version 2"),
        (("\"name\": \"inside\"", "\"name\": \"plain\""), "two SAs"),
        (
            ("\"tunnel\": \"bundle\"", "\"tunnel\": \"bundel\""),
            "bundel",
        ),
        (("\"ip_version\": 6,", ""), "ip_version"),
        (("2001:db8::2", "192.0.2.9"), "one family"),
        (("\"icv_length\"", "\"icv_lenght\""), "icv_lenght"),
        (("\"sequence_high\"", "\"sequence_hihg\""), "sequence_hihg"),
        (("aes-gcm-128", "aes-gcm-512"), "aes-gcm-512"),
        (("0x10000001", "0x1000000001"), "SPI"),
        (("01020304", "0102030"), "digits"),
    ] {
        let text = EVERY_KIND.replacen(change.0, change.1, 1);
        let error = format!("{:#}", SaFile::parse(&text).unwrap_err());
        assert!(error.contains(message), "{change:?}: {error}");
    }
}

#[test]
fn the_example_of_the_page_is_taken() {
    let page = include_str!("../../docs/sas-json.md");
    let (_, rest) = page.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let file = SaFile::parse(example).unwrap();
    assert_eq!(file.sas.len(), 1);
}
