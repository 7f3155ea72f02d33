//! The documented format of `sas.json`.

use tcpip::{
    algorithm::{Authentication, Encryption},
    sas::{Direction, Mode, SaFile, Spi, UdpEsp},
};

/// An SA of every kind that the interface has.
const EVERY_KIND: &str = r#"{
  "version": 1,
  "tasks": { "checksums": true, "large_send": { "version": 1, "mss": 1400 } },
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

/// What is changed in [`EVERY_KIND`], and what the message then has to say: where, what is expected, what is
/// there.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (
        "\"version\": 1,\n",
        "\"version\": 2,\n",
        &["version", "expected 1", "found 2"],
    ),
    (
        "\"version\": 1,\n",
        "\"version\": \"1\",\n",
        &["line 2, column", "version", "whole number", "string \"1\""],
    ),
    (
        "\"mss\": 1400",
        "\"mss\": -5",
        &[
            "line 3, column",
            "tasks.large_send.mss",
            "from 1 to 1048575",
            "`-5`",
        ],
    ),
    (
        "\"mss\": 1400",
        "\"mss\": 1048576",
        &["tasks.large_send.mss", "from 1 to 1048575", "`1048576`"],
    ),
    (
        "\"mss\": 1400",
        "\"mss\": 0",
        &["tasks.large_send.mss", "from 1 to 1048575", "`0`"],
    ),
    (
        "\"mss\": 1400",
        "\"mss\": 1400.5",
        &["tasks.large_send.mss", "whole number", "`1400.5`"],
    ),
    (
        "{ \"version\": 1, \"mss\"",
        "{ \"version\": 3, \"mss\"",
        &["tasks.large_send.version", "from 1 to 2", "`3`"],
    ),
    (
        "\"checksums\": true",
        "\"checksums\": 1",
        &["tasks.checksums", "boolean", "`1`"],
    ),
    (
        "{ \"checksums\": true, \"large_send\": { \"version\": 1, \"mss\": 1400 } }",
        "7",
        &["tasks", "an object with checksums and large_send", "`7`"],
    ),
    (
        "\"0x10000001\"",
        "\"0x1000000001\"",
        &[
            "line 6, column",
            "sas[0].esp.spi",
            "0 to 4294967295",
            "0x",
            "\"0x1000000001\"",
        ],
    ),
    (
        "\"spi\": 256",
        "\"spi\": true",
        &["sas[1].esp.spi", "0 to 4294967295", "boolean `true`"],
    ),
    (
        "\"spi\": 256",
        "\"spi\": -256",
        &["sas[1].esp.spi", "0 to 4294967295", "`-256`"],
    ),
    (
        "\"spi\": 258",
        "\"spi\": 4294967296",
        &["sas[2].ah.spi", "0 to 4294967295", "`4294967296`"],
    ),
    (
        "10.0.0.0/8",
        "10.0.0.0/33",
        &["sas[2].selector.source", "IPv4: 0 to 32", "\"10.0.0.0/33\""],
    ),
    (
        "0.0.0.0/0",
        "::/129",
        &[
            "sas[2].selector.destination",
            "IPv6: 0 to 128",
            "\"::/129\"",
        ],
    ),
    (
        "0.0.0.0/0",
        "::/0",
        &[
            "sas[2]",
            "bundle",
            "selector",
            "one IP version",
            "10.0.0.0/8",
            "::/0",
        ],
    ),
    (
        "\"192.0.2.1\"",
        "\"192.0.2.256\"",
        &[
            "sas[0].source",
            "an IPv4 or IPv6 address",
            "\"192.0.2.256\"",
        ],
    ),
    (
        "\"inbound\"",
        "\"incoming\"",
        &[
            "sas[1].direction",
            "\"both\", \"outbound\", \"inbound\"",
            "\"incoming\"",
        ],
    ),
    (
        "\"inbound\"",
        "1",
        &[
            "sas[1].direction",
            "\"both\", \"outbound\", \"inbound\"",
            "`1`",
        ],
    ),
    (
        "\"mode\": \"tunnel\"",
        "\"mode\": null",
        &["sas[2].mode", "\"transport\", \"tunnel\"", "null"],
    ),
    (
        "\"udp_esp\": \"tunnel\"",
        "\"udp_esp\": \"udp\"",
        &["sas[2].udp_esp", "\"udp-transport-over-tunnel\"", "\"udp\""],
    ),
    (
        "4501",
        "70000",
        &["sas[2].udp_ports.destination", "from 0 to 65535", "`70000`"],
    ),
    (
        "aes-gcm-128",
        "aes-gcm-512",
        &[
            "sas[0].esp.encryption.algorithm",
            "\"aes-gcm-256\"",
            "\"aes-gcm-512\"",
        ],
    ),
    (
        "hmac-sha-1-96",
        "sha1",
        &[
            "sas[2].ah.authentication.algorithm",
            "\"hmac-sha-1-96\"",
            "\"sha1\"",
        ],
    ),
    (
        "\"01020304\"",
        "\"0102030\"",
        &[
            "sas[0].esp.encryption.salt",
            "two for each byte",
            "7 digits",
        ],
    ),
    (
        "\"01020304\"",
        "\"0102030g\"",
        &[
            "sas[0].esp.encryption.salt",
            "hexadecimal",
            "character 8 is 'g'",
        ],
    ),
    (
        "\"01020304\"",
        "16909060",
        &["sas[0].esp.encryption.salt", "hexadecimal", "`16909060`"],
    ),
    (
        "\"icv_length\": 12",
        "\"icv_length\": \"12\"",
        &["sas[0].esp.encryption.icv_length", "whole number", "\"12\""],
    ),
    (
        "\"sequence\": 4294967295",
        "\"sequence\": 4294967296",
        &["sas[1].esp.sequence", "0 to 4294967295", "`4294967296`"],
    ),
    (
        "\"icv_length\"",
        "\"icv_lenght\"",
        &[
            "line 8, column",
            "sas[0].esp.encryption",
            "icv_lenght",
            "`icv_length`",
        ],
    ),
    (
        "\"sequence_high\"",
        "\"sequence_hihg\"",
        &["sas[1].esp", "sequence_hihg", "`sequence_high`"],
    ),
    ("\"spi\": 256,", "", &["sas[1].esp", "missing field `spi`"]),
    (
        "\"name\": \"inside\"",
        "\"name\": \"plain\"",
        &["sas[3]", "a name of its own", "sas[0]"],
    ),
    (
        "\"tunnel\": \"bundle\"",
        "\"tunnel\": \"bundel\"",
        &["sas[3]", "inside", "tunnel", "\"bundel\""],
    ),
    (
        "\"pair\": \"anyone\"",
        "\"pair\": \"noone\"",
        &["sas[2]", "bundle", "pair", "\"noone\""],
    ),
    (
        "\"ip_version\": 6,",
        "",
        &["sas[1]", "anyone", "ip_version"],
    ),
    (
        "\"ip_version\": 6,",
        "\"ip_version\": 5,",
        &["sas[1]", "anyone", "ip_version", "4 or 6", "5"],
    ),
    (
        "2001:db8::2",
        "192.0.2.9",
        &["sas[2]", "bundle", "one IP version"],
    ),
    (
        "\"icv_length\": 12 } }",
        "\"icv_length\": 12 }, \"authentication\": { \"algorithm\": \"hmac-sha-1-96\", \"key\": \"00\" } }",
        &[
            "sas[0]",
            "plain",
            "esp.authentication",
            "combined mode",
            "RFC 4106",
        ],
    ),
    ("\n  ]\n}", "\n  ]", &["line 23, column 3: EOF"]),
    ("\n  ]\n}", "\n  ]\n}}", &["trailing characters", "line 24"]),
];

#[test]
fn mistakes_are_named_with_their_place_and_what_is_expected() {
    for (text, wrong, parts) in MISTAKES {
        assert!(EVERY_KIND.contains(text), "{text}");
        let changed = EVERY_KIND.replacen(text, wrong, 1);
        let error = format!("{:#}", SaFile::parse(&changed).unwrap_err());
        for part in *parts {
            assert!(error.contains(part), "{wrong}: no {part:?} in: {error}");
        }
    }
}

#[test]
fn keys_are_not_repeated_in_messages() {
    let changed = EVERY_KIND.replacen("000102030405060708", "x0010203040506070", 1);
    let error = format!("{:#}", SaFile::parse(&changed).unwrap_err());
    assert!(!error.contains("0010203"), "{error}");
}

#[test]
fn files_that_are_no_sas_json_are_named_with_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.json");
    for (bytes, parts) in [
        (&b""[..], ["expected an object", "empty file"]),
        (b" \n", ["expected an object", "empty file"]),
        (b"[]x", ["line 1, column", "expected"]),
        (b"\xFF\xFE\0", ["expected JSON", "byte 0 is not UTF-8"]),
        (
            b"\xD4\xC3\xB2\xA1\x02\0\x04\0",
            ["found a capture", "--input"],
        ),
        (b"\x0A\x0D\x0D\x0A", ["found a capture", "--input"]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", SaFile::read(&path).unwrap_err());
        for part in parts {
            assert!(error.contains(part), "{bytes:?}: no {part:?} in: {error}");
        }
        assert!(error.contains(path.to_str().unwrap()), "{error}");
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
