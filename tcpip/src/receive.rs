//! Only the receiving side: frames of a capture are put on the wire as they are by an adapter
//! without SAs, and what adapter B indicates is written down.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use ndis_sim::ndis::SendNbl;
use ndis_sys::{NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS, NDIS_STATUS_SUCCESS};
use serde::{Deserialize, Serialize};

use crate::{
    capture::{Capture, Packet},
    checksum::ChecksumStamp,
    compare::describe,
    lab::{Lab, LabOptions, PATIENCE, status_name},
    offload::Way,
    packet::ETHERNET_HEADER,
    recorder::{Indicated, Recorder},
    run::forget,
    sas::SaFile,
    split::{self, Split},
    unframe::HeaderInfo,
};

/// What to receive.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// Machine and driver.
    pub lab: LabOptions,
    /// The SAs.
    pub sas: PathBuf,
    /// The capture of the wire.
    pub input: PathBuf,
    /// Where `received.jsonl` and `indicated.pcap` go.
    pub out: PathBuf,
    /// How the frames lie in the memory of the injecting adapter.
    pub split: Split,
    /// NET_BUFFER_LISTs per send call of the injecting adapter.
    pub burst: usize,
}

/// A line of `received.jsonl`. The names are those of the NET_BUFFER_LIST information.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    /// Number of the packet in the input, from 1.
    pub packet: usize,
    /// Bytes of the packet as indicated.
    pub length: usize,
    /// `CryptoDone`.
    pub crypto_done: bool,
    /// `NextCryptoDone`.
    pub next_crypto_done: bool,
    /// `CryptoStatus`, by its documented name.
    pub crypto_status: String,
    /// `SaDeleteReq`.
    pub sa_delete_req: bool,
    /// Header information; null when `HeaderInfoSet` is not set.
    pub header_info: Option<HeaderLine>,
    /// What the adapter says of the checksums; null when it says nothing.
    #[serde(default)]
    pub checksums: Option<ChecksumLine>,
    /// Whether the bytes are those of the wire.
    pub unchanged: bool,
}

/// `IPsecOffloadV2HeaderNetBufferListInfo.Receive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HeaderLine {
    /// `NextHeader`.
    pub next_header: u8,
    /// `PadLength`.
    pub pad_length: u8,
}

/// `TcpIpChecksumNetBufferListInfo.Receive`: of each checksum whether it is right; null where nothing
/// is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChecksumLine {
    /// `IpChecksumSucceeded` or `IpChecksumFailed`.
    pub ip: Option<bool>,
    /// `TcpChecksumSucceeded` or `TcpChecksumFailed`.
    pub tcp: Option<bool>,
    /// `UdpChecksumSucceeded` or `UdpChecksumFailed`.
    pub udp: Option<bool>,
}

impl ChecksumLine {
    fn new(stamp: ChecksumStamp) -> Option<Self> {
        (stamp != ChecksumStamp::default()).then_some(Self {
            ip: stamp.ip,
            tcp: stamp.tcp,
            udp: stamp.udp,
        })
    }
}

impl Line {
    /// Whether an SA matched and the packet was found wrong.
    pub fn is_failed(&self) -> bool {
        self.crypto_done && self.crypto_status != "CRYPTO_SUCCESS"
    }

    fn new(number: usize, sent: &[u8], seen: &Indicated) -> Self {
        let header_line = |header: HeaderInfo| HeaderLine {
            next_header: header.next_header,
            pad_length: header.pad_len,
        };
        Self {
            packet: number,
            length: seen.frame.len(),
            crypto_done: seen.stamp.crypto_done,
            next_crypto_done: seen.stamp.next_crypto_done,
            crypto_status: seen.stamp.status_name().to_owned(),
            sa_delete_req: seen.stamp.sa_delete_req,
            header_info: seen.header.map(header_line),
            checksums: ChecksumLine::new(seen.checksums),
            unchanged: crate::compare::same_on_the_link(&seen.frame, sent),
        }
    }
}

/// What was received.
#[derive(Debug, Default)]
pub struct Received {
    /// What was written to `received.jsonl`.
    pub lines: Vec<Line>,
    /// What was not as it must be: packets that did not come up, a capture that ends early.
    pub problems: Vec<String>,
}

impl Received {
    /// The lines, if there was no problem.
    pub fn complete(self) -> Result<Vec<Line>> {
        ensure!(self.problems.is_empty(), self.problems.join("\n"));
        Ok(self.lines)
    }

    /// The numbers of the packets with a bad verdict, by `CryptoStatus`.
    pub fn failed(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut failed: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.is_failed()) {
            let status = failed.entry(&line.crypto_status).or_default();
            status.push(line.packet);
        }
        failed
    }
}

/// Receives a capture, and returns what was written to `received.jsonl`.
///
/// A packet with a bad verdict is no error; one that does not come up is.
pub fn receive(options: &ReceiveOptions, progress: &ProgressBar) -> Result<Vec<Line>> {
    receive_far(options, progress)?.complete()
}

/// The same, as far as it goes: what was received before a problem is written and returned.
pub fn receive_far(options: &ReceiveOptions, progress: &ProgressBar) -> Result<Received> {
    let input = Capture::read_far(&options.input)?;
    let file = SaFile::read(&options.sas)?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    forget(&options.out, &["received.jsonl", "indicated.pcap"])?;
    progress.set_length(input.packets.len() as u64);
    let largest = input.packets.iter().map(|packet| packet.frame.len()).max();

    let lab = Lab::start(&options.lab)?;
    let [injector_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
    let injector = lab.port(largest.unwrap_or(0), injector_side.clone())?;
    let b = lab.port(largest.unwrap_or(0), b_side.clone())?;
    injector.expect_link()?;
    injector.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)?;
    b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    b.activate_offload()?;
    let handles = b.offload(&file.sas, Way::Inbound)?;

    let mut received = Received::default();
    let mut indicated = input.like();
    for (index, burst) in input.packets.chunks(options.burst.max(1)).enumerate() {
        let first = index * options.burst.max(1) + 1;
        let numbered = || burst.iter().zip(first..);
        let chain = numbered().map(|(packet, number)| {
            let cookie = number as u64;
            let nb = split::net_buffer(
                options.split,
                packet.frame.clone(),
                ETHERNET_HEADER + 20,
                0,
                cookie,
            );
            SendNbl::with_net_buffers(vec![nb]).cookie(cookie)
        });
        injector.send(chain.collect())?;
        let completed = injector_side.take_completed(burst.len(), PATIENCE);
        let mut on_wire = Vec::new();
        for (packet, number) in numbered() {
            let mine = completed.iter().find(|sent| sent.cookie == number as u64);
            match mine.map(|sent| sent.status) {
                Some(NDIS_STATUS_SUCCESS) => on_wire.push((packet, number)),
                status => received.problems.push(format!(
                    "packet {number} ({}): not put on the wire: {}",
                    describe(&packet.frame),
                    status.map_or("not completed".to_owned(), status_name)
                )),
            }
        }
        let came_up = b_side.take_received(on_wire.len(), PATIENCE);
        let (expected, came) = (on_wire.len(), came_up.len());
        for ((packet, number), seen) in on_wire.into_iter().zip(came_up) {
            received.lines.push(Line::new(number, &packet.frame, &seen));
            let packet = Packet::new(packet.timestamp, seen.frame);
            indicated.packets.push(packet);
        }
        if let Some(check) = lab.machine().bug_check() {
            write(&options.out, &received.lines, &indicated)?;
            return Err(check.into());
        }
        if came < expected {
            // What comes up does not tell which packet it was.
            received.problems.push(format!(
                "of the packets from {first} to {} only {came} of {expected} came up: stopped there, \
                 and their numbers are a guess",
                first + burst.len() - 1
            ));
            break;
        }
        progress.set_position((first + burst.len() - 1) as u64);
    }
    write(&options.out, &received.lines, &indicated)?;
    if let Err(error) = input.check_whole(&options.input) {
        received.problems.push(error.to_string());
    }

    b.delete_sas(&handles)?;
    drop((injector, b));
    lab.finish()?;
    Ok(received)
}

fn write(out: &Path, lines: &[Line], indicated: &Capture) -> Result<()> {
    let mut jsonl = BufWriter::new(File::create(out.join("received.jsonl"))?);
    for line in lines {
        serde_json::to_writer(&mut jsonl, line)?;
        jsonl.write_all(b"\n")?;
    }
    jsonl.flush()?;
    indicated.write(&out.join("indicated.pcap"))
}
