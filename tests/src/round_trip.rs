//! The recorded traffic through the real driver under a plan of SAs, and both ways against scapy.

use std::path::Path;

use indicatif::ProgressBar;
use tcpip::{
    algorithm::Suite,
    capture::Capture,
    compare::same_on_the_link,
    lab::NdisVersion,
    packet::Layout,
    places::Places,
    plan::{Plan, PlanMode, Shape},
    policy::{Keys, Offers},
    receive::{Line, ReceiveOptions, receive},
    run::{Outcome, RunOptions, run},
    sas::{Sa, SaFile},
    split::Split,
    unframe::unframe,
};

use crate::{lab_options, reference, traffic};

/// A kind of SAs, and the circumstances.
#[derive(Clone, Debug)]
pub struct RoundTrip {
    /// Headers and modes.
    pub shape: Shape,
    /// Algorithms of ESP.
    pub suite: Suite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// What the driver registers with.
    pub version: NdisVersion,
    /// How frames lie in memory.
    pub split: Split,
}

impl RoundTrip {
    /// This shape and these algorithms, all else varied with `number`.
    ///
    /// # Panics
    /// If `suite` names no algorithms.
    pub fn numbered(number: usize, shape: Shape, suite: &str) -> Self {
        let splits = [
            Split::Headers,
            Split::Whole,
            Split::Every(7),
            Split::Random(9),
            Split::Every(1),
        ];
        Self {
            shape,
            suite: suite
                .parse()
                .unwrap_or_else(|error| panic!("{suite}: {error}")),
            esn: number % 2 == 1,
            version: NdisVersion::ALL[number % NdisVersion::ALL.len()],
            split: splits[number % splits.len()],
        }
    }

    fn is_legacy(&self) -> bool {
        self.suite.is_legacy() || self.shape.ah.is_legacy()
    }

    fn keywords(&self) -> Vec<(String, String)> {
        let on = || vec![("LegacyAlgorithms".to_owned(), "1".to_owned())];
        self.is_legacy().then(on).unwrap_or_default()
    }

    /// `run`: every frame of the wire is compared with what software makes of the packet, what
    /// comes up with the frame of the wire opened by software, and in the end with what was sent.
    ///
    /// # Panics
    /// If anything is not as it must be.
    pub fn carries_the_traffic(&self, out: &Path) -> Outcome {
        let mut lab = lab_options(self.version);
        lab.keywords = self.keywords();
        let options = RunOptions {
            lab,
            input: traffic(),
            out: out.to_owned(),
            shape: self.shape,
            suite: self.suite,
            icv_length: 16,
            esn: self.esn,
            keys: Keys::Seed(1),
            split: self.split,
            burst: 32,
        };
        match run(&options, &ProgressBar::hidden()).and_then(Outcome::passed) {
            Err(error) => panic!("{self:?}: {error:#}"),
            Ok(outcome) => {
                assert!(outcome.encrypted > 200, "{self:?}: {outcome:?}");
                assert_eq!(outcome.verified, outcome.encrypted, "{self:?}");
                outcome
            }
        }
    }

    /// scapy, with nothing but `sas.json`, gets the same packets out of the wire.
    ///
    /// # Panics
    /// If it does not.
    pub fn scapy_takes_the_wire(&self) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let outcome = self.carries_the_traffic(directory.path());
        let report = scapy(
            "decrypt",
            directory.path(),
            &path("wire.pcap"),
            "plain.pcap",
        );
        assert_eq!(report.failed, [0; 0], "{self:?}");
        assert_eq!(report.processed, outcome.encrypted, "{self:?}");
        let [plain, original] = [path("plain.pcap"), traffic()].map(|path| read(&path));
        assert_eq!(plain.packets.len(), original.packets.len());
        for (number, (plain, original)) in plain.packets.iter().zip(&original.packets).enumerate() {
            assert!(
                same_on_the_link(&plain.frame, &original.frame),
                "packet {}, {self:?}",
                number + 1
            );
        }
    }

    /// scapy's packets come up verified; with one bit of each changed they do not, and everything
    /// that is still authentic is all that was opened.
    ///
    /// # Panics
    /// If they come up as anything else.
    pub fn the_driver_takes_scapys_packets(&self) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let original = read(&traffic());
        let plan = Plan {
            shape: self.shape,
            suite: self.suite,
            icv_length: 16,
            esn: self.esn,
            keys: Keys::Seed(6),
        };
        let frames = original.packets.iter().map(|p| p.frame.as_slice());
        let file = plan
            .make(frames, &Offers::EVERYTHING)
            .unwrap_or_else(|error| panic!("{self:?}: {error:#}"));
        file.write(&path("sas.json")).expect("sas.json");
        let report = scapy("encrypt", directory.path(), &traffic(), "scapy.pcap");
        assert!(report.processed > 200, "{self:?}");

        let lines = self.driver_receives(directory.path(), "scapy.pcap");
        let mut scapy = read(&path("scapy.pcap"));
        let indicated = read(&path("indicated.pcap"));
        let nested = self.shape.mode == PlanMode::TransportOverTunnel;
        let mut verified = 0;
        for (index, line) in lines.iter().enumerate() {
            let about = format!("{self:?}: {line:?}");
            let plain = &original.packets[index].frame;
            if scapy.packets[index].frame == *plain {
                assert!(!line.crypto_done && line.unchanged, "{about}");
                continue;
            }
            assert_eq!(line.crypto_status, "CRYPTO_SUCCESS", "{about}");
            assert!(line.crypto_done, "{about}");
            assert_eq!(line.next_crypto_done, nested, "{about}");
            let stripped = strip(&indicated.packets[index].frame, &file);
            assert!(same_on_the_link(&stripped, plain), "{about}");
            verified += 1;
        }
        assert_eq!(verified, report.processed, "{self:?}");

        // One bit, elsewhere in each packet: from the sequence number of the outermost header on.
        let mut forged = Vec::new();
        for (index, packet) in scapy.packets.iter_mut().enumerate() {
            if packet.frame == original.packets[index].frame {
                continue;
            }
            let range = authentic_bytes(&packet.frame, &file);
            let at = range.start + index * 7919 % range.len();
            packet.frame[at] ^= 1 << (index % 8);
            forged.push(index);
        }
        scapy.write(&path("forged.pcap")).expect("forged.pcap");
        let lines = self.driver_receives(directory.path(), "forged.pcap");
        for (index, line) in lines.iter().enumerate() {
            let about = format!("{self:?}: {line:?}");
            assert_eq!(line.crypto_done, forged.contains(&index), "{about}");
            if line.crypto_done {
                assert!(line.crypto_status.ends_with("_AUTH_FAILED"), "{about}");
                assert!(line.unchanged && line.header_info.is_none(), "{about}");
            }
        }
    }

    fn driver_receives(&self, directory: &Path, input: &str) -> Vec<Line> {
        let mut lab = lab_options(self.version);
        lab.keywords = self.keywords();
        let options = ReceiveOptions {
            lab,
            sas: directory.join("sas.json"),
            input: directory.join(input),
            out: directory.to_owned(),
            split: self.split,
            burst: 32,
        };
        receive(&options, &ProgressBar::hidden())
            .unwrap_or_else(|error| panic!("{self:?}: {error:#}"))
    }
}

fn read(path: &Path) -> Capture {
    Capture::read(path).unwrap_or_else(|error| panic!("{error:#}"))
}

fn scapy(command: &str, directory: &Path, input: &Path, output: &str) -> reference::ScapyReport {
    let sas = directory.join("sas.json");
    reference::scapy(command, &sas, input, &directory.join(output))
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// The SA of the headers behind the outermost IP header.
fn sa_of<'a>(frame: &[u8], file: &'a SaFile) -> Option<&'a Sa> {
    let layout = Layout::of(frame).ok()?;
    let with_addresses = |sa: &&Sa| {
        sa.source == Some(layout.source)
            && sa.destination == Some(layout.destination)
            && Places::find(frame, layout.ip, sa).is_ok()
    };
    // Tunnels have the same ends: the SPI tells them apart.
    let spi = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("4 bytes"));
    file.sas.iter().filter(with_addresses).find(|sa| {
        let places = Places::find(frame, layout.ip, sa).expect("it was found before");
        match (&sa.ah, places.ah, &sa.esp, places.esp) {
            (Some(ah), Some(place), _, _) => spi(place.header.start + 4) == ah.spi.0,
            (_, _, Some(esp), Some(place)) => spi(place.start) == esp.spi.0,
            _ => false,
        }
    })
}

/// Takes the headers of all SAs off a packet that was opened.
fn strip(frame: &[u8], file: &SaFile) -> Vec<u8> {
    let mut frame = frame.to_vec();
    while let Some(sa) = sa_of(&frame, file) {
        frame = unframe(&frame, sa)
            .unwrap_or_else(|error| panic!("SA {}: {error}", sa.name))
            .frame;
    }
    frame
}

/// What the outermost ICV covers and no other check looks at: from its sequence number on.
fn authentic_bytes(frame: &[u8], file: &SaFile) -> std::ops::Range<usize> {
    let layout = Layout::of(frame).expect("scapy's packets are whole");
    let sa = sa_of(frame, file).expect("scapy's packets have SAs");
    let places = Places::find(frame, layout.ip, sa).expect("the headers of the SA");
    let start = match (&places.ah, &places.esp) {
        (Some(ah), _) => ah.header.start + 8,
        (None, Some(esp)) => esp.start + 4,
        (None, None) => unreachable!("an SA has a header"),
    };
    start..layout.end
}
