//! `tasks` in sas.json: what the sender leaves to the adapter comes out as if it had done it itself.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ipsecov2_tests::lab_options;
use tcpip::{
    capture::{Capture, Packet},
    lab::NdisVersion,
    large_send::{LargePacket, LsoVersion, tcp_head},
    receive::{ReceiveOptions, receive},
    sas::SaFile,
    send::{SendOptions, Sent, send},
    split::Split,
    synthetic,
    tasks::{LargeSend, Tasks},
};

const MSS: usize = 1400;

/// Transport mode between the first two pairs of hosts, a tunnel for the third, nothing for others.
const SAS: &str = r#"{
  "version": 1,
  "sas": [
    {
      "name": "gcm", "source": "192.0.2.1", "destination": "192.0.2.2",
      "esp": {"spi": 4097, "encryption": {"algorithm": "aes-gcm-128",
        "key": "000102030405060708090a0b0c0d0e0f", "salt": "01020304"}}
    },
    {
      "name": "ah", "source": "2001:db8::1", "destination": "2001:db8::2",
      "ah": {"spi": 4098, "esn": true, "sequence": 4294967294, "authentication":
        {"algorithm": "hmac-sha-1-96", "key": "000102030405060708090a0b0c0d0e0f10111213"}}
    },
    {
      "name": "tunnel", "mode": "tunnel", "source": "198.51.100.1", "destination": "198.51.100.2",
      "selector": {"source": "10.0.0.0/8", "destination": "10.0.0.0/8"},
      "esp": {"spi": 4099, "encryption": {"algorithm": "aes-gcm-256",
        "key": "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f", "salt": "01020304"}}
    }
  ]
}"#;

fn large(hosts: [&str; 2], len: usize) -> LargePacket {
    let [source, destination] = hosts.map(|host| host.parse().unwrap());
    LargePacket {
        head: tcp_head(
            source,
            destination,
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            0x99,
        ),
        payload: (0..len).map(|at| (at * 7) as u8).collect(),
        mss: MSS,
        version: LsoVersion::V2,
        discard: 0,
    }
}

fn traffic() -> Vec<LargePacket> {
    vec![
        large(["192.0.2.1", "192.0.2.2"], 20_000),
        large(["2001:db8::1", "2001:db8::2"], 2 * MSS),
        large(["10.0.0.1", "10.0.0.2"], 5_000),
        large(["203.0.113.1", "203.0.113.2"], 60_000),
        large(["2001:db8::3", "2001:db8::4"], MSS + 1),
        large(["192.0.2.1", "192.0.2.2"], 100),
    ]
}

/// The packet in one piece, as a capture on a host with segmentation offload has it.
fn whole(packet: &LargePacket) -> Vec<u8> {
    let whole = LargePacket {
        mss: usize::MAX,
        ..packet.clone()
    };
    whole.segments().unwrap().remove(0)
}

struct Files(tempfile::TempDir);

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn capture(&self, name: &str, frames: Vec<Vec<u8>>) -> PathBuf {
        let like = Capture::read(&ipsecov2_tests::traffic()).unwrap();
        let timestamp = like.packets[0].timestamp;
        let packets = frames.into_iter();
        let packets = packets.map(|frame| Packet::new(timestamp, frame));
        let capture = like.with_packets(packets.collect());
        let path = self.path(name);
        capture.write(&path).unwrap();
        path
    }

    fn sas(&self, name: &str, tasks: Tasks) -> PathBuf {
        let mut file = SaFile::parse(SAS).unwrap();
        file.tasks = tasks;
        let path = self.path(name);
        file.write(&path).unwrap();
        path
    }

    fn send(&self, sas: &Path, input: &Path, keywords: &[(&str, &str)]) -> (Sent, Vec<Vec<u8>>) {
        let mut lab = lab_options(NdisVersion::V6_30);
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        lab.keywords = keywords.iter().map(owned).collect();
        let options = SendOptions {
            lab,
            sas: sas.to_owned(),
            input: input.to_owned(),
            out: self.path("out"),
            split: Split::Random(5),
            burst: 32,
        };
        let sent = send(&options, &ProgressBar::hidden()).unwrap();
        let wire = Capture::read(&self.path("out/wire.pcap")).unwrap();
        (
            sent,
            wire.packets
                .into_iter()
                .map(|packet| packet.frame)
                .collect(),
        )
    }
}

fn tasks(version: LsoVersion) -> Tasks {
    Tasks {
        checksums: true,
        large_send: Some(LargeSend { version, mss: MSS }),
    }
}

#[test]
fn the_wire_is_that_of_a_sender_that_does_it_itself() {
    let files = Files(tempfile::tempdir().unwrap());
    let udp = || {
        [
            synthetic::udp_v4(100).unwrap(),
            synthetic::udp_v6(101).unwrap(),
        ]
    };
    let mut down = Vec::new();
    let mut cut = Vec::new();
    for packet in traffic() {
        down.push(whole(&packet));
        cut.extend(packet.segments().unwrap());
    }
    down.extend(udp());
    cut.extend(udp());
    let (down, cut) = (
        files.capture("down.pcap", down),
        files.capture("cut.pcap", cut),
    );

    let plain = files.sas("plain.json", Tasks::default());
    let (sent, expected) = files.send(&plain, &cut, &[]);
    assert_eq!(sent.problems, [""; 0]);
    // The last three are a small packet and the UDP, which is of the same hosts.
    let (protected, clear) = (15 + 2 + 4 + 3, 43 + 2);
    assert_eq!(sent.protected, protected);
    assert_eq!(sent.packets, protected + clear);

    for version in [LsoVersion::V1, LsoVersion::V2] {
        let sas = files.sas("tasks.json", tasks(version));
        let (sent, wire) = files.send(&sas, &down, &[]);
        assert_eq!(sent.problems, [""; 0]);
        assert_eq!(wire.len(), expected.len());
        for (index, (wire, expected)) in wire.iter().zip(&expected).enumerate() {
            assert!(wire == expected, "{version:?}: packet {}", index + 1);
        }

        // The receiver finds every packet and every checksum right.
        let options = ReceiveOptions {
            lab: lab_options(NdisVersion::V6_30),
            sas,
            input: files.path("out/wire.pcap"),
            out: files.path("out"),
            split: Split::Whole,
            burst: 10,
        };
        let lines = receive(&options, &ProgressBar::hidden()).unwrap();
        let verified = lines.iter().filter(|line| line.crypto_done);
        assert_eq!(verified.count(), sent.protected);
        for line in lines {
            assert!(!line.is_failed(), "{line:?}");
            let checksums = line.checksums.expect("they were looked at");
            let of_transport = [checksums.tcp, checksums.udp];
            assert_eq!(of_transport.iter().flatten().collect::<Vec<_>>(), [&true]);
            assert_ne!(checksums.ip, Some(false));
        }
    }
}

/// It is the adapter that does it: one that must not does not.
#[test]
fn what_is_switched_off_is_not_done() {
    let files = Files(tempfile::tempdir().unwrap());
    let [v4, v6] = [
        large(["192.0.2.1", "192.0.2.2"], 2_000),
        large(["2001:db8::1", "2001:db8::2"], 2_000),
    ];
    let sas = files.sas("tasks.json", tasks(LsoVersion::V2));
    for (keyword, packets, lost) in [
        ("*LsoV2IPv4", [&v4, &v6], 1),
        ("*LsoV2IPv6", [&v6, &v4], 1),
        (
            "*TCPChecksumOffloadIPv4",
            [&large(["192.0.2.1", "192.0.2.2"], 99), &v6],
            1,
        ),
    ] {
        let frames = packets.map(whole);
        let input = files.capture("down.pcap", frames.to_vec());
        let (sent, wire) = files.send(&sas, &input, &[(keyword, "0")]);
        assert_eq!(wire.len(), 2, "{keyword}");
        let [problem] = &sent.problems[..] else {
            panic!("{keyword}: {:?}", sent.problems)
        };
        assert!(problem.starts_with(&format!("packet {lost} ")), "{problem}");
        assert!(problem.contains("NDIS_STATUS_FAILURE"), "{problem}");
    }
}

/// More segments than the receiver has buffers: they go in bursts that fit.
#[test]
fn a_capture_of_large_packets() {
    let files = Files(tempfile::tempdir().unwrap());
    let packet = large(["203.0.113.1", "203.0.113.2"], 60_000);
    let input = files.capture("down.pcap", vec![whole(&packet); 32]);
    let sas = files.sas("tasks.json", tasks(LsoVersion::V2));
    let (sent, wire) = files.send(&sas, &input, &[]);
    assert_eq!(sent.problems, [""; 0]);
    let once = packet.segments().unwrap();
    assert_eq!(wire.len(), 32 * once.len());
    assert!(wire.chunks(once.len()).all(|segments| segments == once));
}

/// A packet that no adapter takes whole is named, with what can be done.
#[test]
fn a_packet_that_is_too_long_is_named_with_the_remedy() {
    let files = Files(tempfile::tempdir().unwrap());
    let frames = [99, 20_000].map(|len| whole(&large(["192.0.2.1", "192.0.2.2"], len)));
    let input = files.capture("down.pcap", frames.to_vec());
    let too_long = LargeSend {
        version: LsoVersion::V2,
        mss: 15_000,
    };
    for (large_send, remedy) in [
        (None, "or tasks.large_send in sas.json has the adapter cut"),
        (Some(too_long), "needs a smaller mss"),
    ] {
        let tasks = Tasks {
            large_send,
            ..Tasks::default()
        };
        let options = SendOptions {
            lab: lab_options(NdisVersion::V6_30),
            sas: files.sas("tasks.json", tasks),
            input: input.clone(),
            out: files.path("out"),
            split: Split::Whole,
            burst: 32,
        };
        let error = send(&options, &ProgressBar::hidden()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("packet 2 of "), "{error}");
        for part in ["the adapter takes 9014", remedy] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

/// The packet for which there is no number is named, and the others go out.
#[test]
fn numbers_that_are_used_up() {
    let files = Files(tempfile::tempdir().unwrap());
    let mut file = SaFile::parse(SAS).unwrap();
    file.sas[0].esp.as_mut().unwrap().sequence = u32::MAX;
    let sas = files.path("last.json");
    file.write(&sas).unwrap();
    let udp = [
        synthetic::udp_v4(100).unwrap(),
        synthetic::udp_v4(100).unwrap(),
    ];
    let clear = large(["203.0.113.1", "203.0.113.2"], 99);
    let frames = [&udp[..], &[whole(&clear)]].concat();
    let input = files.capture("down.pcap", frames);
    let (sent, wire) = files.send(&sas, &input, &[]);
    let [problem] = &sent.problems[..] else {
        panic!("{:?}", sent.problems)
    };
    assert!(problem.starts_with("packet 2"), "{problem}");
    assert_eq!((wire.len(), sent.protected), (2, 1));
}
