//! Packet captures in the classic pcap format, kept exactly: time stamps in the resolution of
//! the file, original lengths and header.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use pcap_file::{
    DataLink,
    pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket},
};

/// The snapshot length that tcpdump uses for "everything".
const SNAP_LEN: u32 = 262_144;

/// Bytes of the header of a classic pcap file.
const FILE_HEADER: usize = 24;

/// First bytes of a pcapng file.
const PCAPNG_MAGIC: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

/// First bytes of a classic pcap file: micro- or nanoseconds, in either byte order.
const PCAP_MAGICS: [[u8; 4]; 4] = [
    [0xD4, 0xC3, 0xB2, 0xA1],
    [0xA1, 0xB2, 0xC3, 0xD4],
    [0x4D, 0x3C, 0xB2, 0xA1],
    [0xA1, 0xB2, 0x3C, 0x4D],
];

/// Whether a file begins as captures do.
pub(crate) fn is_capture(bytes: &[u8]) -> bool {
    let magic = bytes.get(..4);
    magic.is_some_and(|magic| {
        PCAP_MAGICS
            .iter()
            .chain([&PCAPNG_MAGIC])
            .any(|it| it == magic)
    })
}

/// What a file is that is no capture, in words.
fn look(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(16)];
    match str::from_utf8(start) {
        _ if bytes.is_empty() => "an empty file".to_owned(),
        Ok(text) if text.trim_start().starts_with('{') => {
            "JSON (a sas.json is what --sas takes)".to_owned()
        }
        Ok(text) if !text.contains('\0') => format!("text that begins with {text:?}"),
        _ => format!("the first bytes {}", hex::encode(start)),
    }
}

/// When a packet was captured, in the units of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Microseconds, or nanoseconds if the capture is in those.
    pub fraction: u32,
}

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When.
    pub timestamp: Timestamp,
    /// Bytes that it had on its wire; more than `frame` holds if the capture cut it.
    pub original_len: u32,
    /// What was captured, from the Ethernet header on.
    pub frame: Vec<u8>,
}

impl Packet {
    /// A packet that is all there.
    pub fn new(timestamp: Timestamp, frame: Vec<u8>) -> Self {
        Self {
            timestamp,
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            frame,
        }
    }
}

/// A capture of an Ethernet link.
#[derive(Clone, Debug)]
pub struct Capture {
    header: PcapHeader,
    /// In the order of the file.
    pub packets: Vec<Packet>,
    /// Where and why reading ended early: the packets are those before it.
    pub cut: Option<String>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            header: PcapHeader {
                snaplen: SNAP_LEN,
                datalink: DataLink::ETHERNET,
                ..PcapHeader::default()
            },
            packets: Vec::new(),
            cut: None,
        }
    }
}

impl Capture {
    /// Reads a file that is all there.
    pub fn read(path: &Path) -> Result<Self> {
        let capture = Self::read_far(path)?;
        capture.check_whole(path).map(|()| capture)
    }

    /// Reads a file as far as it goes: one that was still being written, or copied, ends within a
    /// packet.
    pub fn read_far(path: &Path) -> Result<Self> {
        let parsed = || Self::parse(&std::fs::read(path)?);
        parsed().with_context(|| format!("cannot use the capture {}", path.display()))
    }

    /// An error for a file that could not be read to its end.
    pub fn check_whole(&self, path: &Path) -> Result<()> {
        match &self.cut {
            None => Ok(()),
            Some(reason) => bail!("the capture {} ends early: {reason}", path.display()),
        }
    }

    /// Parses the bytes of a file, as far as it goes.
    ///
    /// # Errors
    /// When they are not a classic pcap of an Ethernet link.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(
            !bytes.starts_with(&PCAPNG_MAGIC),
            "it is pcapng; convert it with: tshark -F pcap -r IN.pcapng -w OUT.pcap"
        );
        ensure!(
            is_capture(bytes),
            "expected a classic pcap file, found {}",
            look(bytes)
        );
        ensure!(
            bytes.len() >= FILE_HEADER,
            "expected the {FILE_HEADER} bytes of a pcap file's header, found a file of {}",
            bytes.len()
        );
        let mut reader = PcapReader::new(BufReader::new(bytes))?;
        let header = reader.header();
        if header.datalink != DataLink::ETHERNET {
            bail!(
                "expected the link type Ethernet, found {:?}",
                header.datalink
            );
        }
        let (mut packets, mut cut) = (Vec::new(), None);
        while let Some(packet) = reader.next_raw_packet() {
            let packet = match packet {
                Ok(packet) => packet,
                Err(error) => {
                    cut = Some(format!("packet {}: {error}", packets.len() + 1));
                    break;
                }
            };
            packets.push(Packet {
                timestamp: Timestamp {
                    seconds: packet.ts_sec,
                    fraction: packet.ts_frac,
                },
                original_len: packet.orig_len,
                frame: packet.data.into_owned(),
            });
        }
        Ok(Self {
            header,
            packets,
            cut,
        })
    }

    /// An empty capture with this one's resolution of time, for the same packets elsewhere.
    pub fn like(&self) -> Self {
        let mut header = self.header;
        header.snaplen = header.snaplen.max(SNAP_LEN);
        Self {
            header,
            packets: Vec::new(),
            cut: None,
        }
    }

    /// The same capture with other packets: equal packets make an equal file.
    pub fn with_packets(&self, packets: Vec<Packet>) -> Self {
        Self {
            header: self.header,
            packets,
            cut: None,
        }
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_inner(path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_inner(&self, path: &Path) -> Result<()> {
        self.write_to(BufWriter::new(File::create(path)?))
    }

    /// Writes the bytes of a file.
    ///
    /// # Errors
    /// When `to` takes no more, or a packet is longer than the format can tell.
    pub fn write_to(&self, to: impl Write) -> Result<()> {
        let mut writer = PcapWriter::with_header(to, self.header)?;
        for packet in &self.packets {
            writer.write_raw_packet(&RawPcapPacket {
                ts_sec: packet.timestamp.seconds,
                ts_frac: packet.timestamp.fraction,
                incl_len: packet.frame.len().try_into()?,
                orig_len: packet.original_len,
                data: Cow::Borrowed(&packet.frame),
            })?;
        }
        writer.into_writer().flush()?;
        Ok(())
    }
}
