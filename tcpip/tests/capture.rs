//! Files that are put to the reader of captures.

use tcpip::capture::Capture;

/// A pcap header: microseconds, version 2.4, and this link type.
fn header(link: u8) -> Vec<u8> {
    let mut bytes = vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0];
    bytes.extend([0; 8]);
    bytes.extend([0, 0, 4, 0, link, 0, 0, 0]);
    bytes
}

#[test]
fn files_that_are_no_capture_are_named_with_what_they_are() {
    let cases: &[(Vec<u8>, &[&str])] = &[
        (
            vec![],
            &["expected a classic pcap file", "found an empty file"],
        ),
        (
            b"{\n \"version\": 1".to_vec(),
            &["expected a classic pcap file", "found JSON", "--sas"],
        ),
        (
            b"hello, world".to_vec(),
            &[
                "expected a classic pcap file",
                "text that begins with \"hello, world\"",
            ],
        ),
        (
            b"\x7FELF\xFF\0".to_vec(),
            &["expected a classic pcap file", "7f454c46ff00"],
        ),
        (
            header(1)[..20].to_vec(),
            &["24 bytes of a pcap file's header", "a file of 20"],
        ),
        (
            header(113),
            &["expected the link type Ethernet", "LINUX_SLL"],
        ),
        (
            b"\x0A\x0D\x0D\x0A\0\0".to_vec(),
            &["pcapng", "tshark -F pcap"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some file");
    for (bytes, parts) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", Capture::read(&path).unwrap_err());
        for part in *parts {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(Capture::parse(&header(1)).unwrap().packets, []);
}
