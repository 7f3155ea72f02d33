//! Only the receiving side: frames of a capture are put on the wire as they are by an adapter
//! without SAs, and what adapter B indicates is written down.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use ndis_sim::ndis::SendNbl;
use ndis_sys::{NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS, NDIS_STATUS_SUCCESS};
use serde::{Deserialize, Serialize};

use crate::{
    capture::{Capture, Packet},
    compare::describe,
    lab::{Lab, LabOptions, PATIENCE, status_name},
    offload::Way,
    recorder::{Indicated, Recorder},
    sas::SaFile,
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

impl Line {
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
            unchanged: crate::compare::same_on_the_link(&seen.frame, sent),
        }
    }
}

/// Receives a capture, and returns what was written to `received.jsonl`.
///
/// A packet with a bad verdict is no error; one that does not come up is.
pub fn receive(options: &ReceiveOptions, progress: &ProgressBar) -> Result<Vec<Line>> {
    let input = Capture::read(&options.input)?;
    let file = SaFile::read(&options.sas)?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    progress.set_length(input.packets.len() as u64);
    let largest = input.packets.iter().map(|packet| packet.frame.len()).max();

    let lab = Lab::start(&options.lab)?;
    let [injector_side, b_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
    let injector = lab.port(largest.unwrap_or(0), injector_side.clone())?;
    let b = lab.port(largest.unwrap_or(0), b_side.clone())?;
    injector.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)?;
    b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    b.activate_offload()?;
    let handles = b.offload(&file.sas, Way::Inbound)?;

    let mut lines = Vec::new();
    let mut indicated = Vec::new();
    for burst in input.packets.chunks(options.burst.max(1)) {
        let about = |offset: usize| {
            let number = lines.len() + offset + 1;
            format!("packet {number} ({})", describe(&burst[offset].frame))
        };
        let chain = burst
            .iter()
            .map(|packet| SendNbl::new(packet.frame.clone()));
        injector.send(chain.collect())?;
        let completed = injector_side.take_completed(burst.len(), PATIENCE);
        for offset in 0..burst.len() {
            let status = completed.get(offset).map(|completed| completed.status);
            ensure!(
                status == Some(NDIS_STATUS_SUCCESS),
                "{}: not put on the wire: {}",
                about(offset),
                status.map_or("not completed".to_owned(), status_name)
            );
        }
        let came_up = b_side.take_received(burst.len(), PATIENCE);
        ensure!(
            came_up.len() == burst.len(),
            "{}: it did not come up",
            about(came_up.len())
        );
        for (packet, seen) in burst.iter().zip(came_up) {
            lines.push(Line::new(lines.len() + 1, &packet.frame, &seen));
            indicated.push(Packet::new(packet.timestamp, seen.frame));
        }
        progress.set_position(lines.len() as u64);
    }

    b.delete_sas(&handles)?;
    let mut jsonl = BufWriter::new(File::create(options.out.join("received.jsonl"))?);
    for line in &lines {
        serde_json::to_writer(&mut jsonl, line)?;
        jsonl.write_all(b"\n")?;
    }
    jsonl.flush()?;
    let mut capture = input.like();
    capture.packets = indicated;
    capture.write(&options.out.join("indicated.pcap"))?;
    drop((injector, b));
    lab.finish()?;
    Ok(lines)
}
