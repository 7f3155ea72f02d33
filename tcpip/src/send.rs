//! Only the sending side: plain packets go out of adapter A, and a tap without SAs records what
//! is on the wire.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use ndis_sys::{NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS};

use crate::{
    capture::{Capture, Packet},
    clear::InClear,
    compare::describe,
    lab::{Lab, LabOptions, PATIENCE, TooLong},
    offload::Way,
    outbound::{Outgoing, Sender},
    recorder::Recorder,
    run::forget,
    sas::{SaFile, max_overhead},
    split::Split,
    tasks::{Descender, Descent},
    verify::{check_completions, check_untouched},
    wireshark,
};

/// What to send.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// Machine and driver.
    pub lab: LabOptions,
    /// The SAs.
    pub sas: PathBuf,
    /// The capture of plain packets.
    pub input: PathBuf,
    /// Where `wire.pcap` and the configuration for Wireshark go.
    pub out: PathBuf,
    /// How frames lie in memory.
    pub split: Split,
    /// NET_BUFFER_LISTs per send call.
    pub burst: usize,
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets on the wire: of a large one each segment.
    pub packets: usize,
    /// Those with an SA.
    pub protected: usize,
    /// The others.
    pub clear: InClear,
    /// What [`Sent::clear`] is about, for people: a line for each reason.
    pub reasons: Vec<String>,
    /// Packets that are not on the wire, each with the reason, and a capture that ends early.
    pub problems: Vec<String>,
}

impl Sent {
    /// What was sent, if that is everything.
    pub fn complete(self) -> Result<Self> {
        ensure!(self.problems.is_empty(), self.problems.join("\n"));
        Ok(self)
    }
}

/// A packet of the capture: its number, how many lists it goes down in, and what must be on the wire.
type Down<'a> = (usize, &'a Packet, usize, Vec<Outgoing>);

/// Frames after which a burst ends, segments counted: what is on the wire has to fit into the tap's
/// receive buffers.
const FRAMES: usize = 128;

/// Sends a capture. The frames are recorded as they are, not compared with anything. A packet that
/// does not go out is a problem in the result; the others are in `wire.pcap`.
pub fn send(options: &SendOptions, progress: &ProgressBar) -> Result<Sent> {
    let input = Capture::read_far(&options.input)?;
    let file = SaFile::read(&options.sas)?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    forget(&options.out, &["wire.pcap"])?;
    progress.set_length(input.packets.len() as u64);

    let lengths = (1..).zip(&input.packets);
    let lengths = lengths.map(|(number, packet)| (number, file.tasks.longest(&packet.frame)));
    let (number, longest) = lengths.max_by_key(|(_, len)| *len).unwrap_or((0, 0));
    let largest = longest + max_overhead(&file.sas);

    let lab = Lab::start(&options.lab)?;
    let [a_side, tap_side] = [(); 2].map(|()| Recorder::on(lab.machine()));
    let advice = match file.tasks.large_send {
        None => "tasks.large_send in sas.json has the adapter cut large TCP packets",
        Some(_) => "tasks.large_send in sas.json needs a smaller mss, if this is a TCP packet",
    };
    let a = lab
        .port(largest, a_side.clone())
        .map_err(|error| TooLong::explain(error, number, longest, advice))?;
    let tap = lab.port(largest, tap_side.clone())?;
    a.expect_link()?;
    a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)?;
    tap.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    a.activate_offload()?;
    let handles = a.offload(&file.sas, Way::Outbound)?;

    let mut descender = Descender {
        sender: Sender::new(&file.sas, a.offers()?),
        handles: &handles,
        tasks: file.tasks,
        offload: a.reported()?.get(),
        split: options.split,
    };
    let mut wire = input.like();
    let mut sent = Sent::default();
    let mut waiting = (1..).zip(&input.packets).peekable();
    while waiting.peek().is_some() {
        let mut down = Vec::new();
        let mut chain = Vec::new();
        let mut frames = 0;
        while down.len() < options.burst.max(1)
            && frames < FRAMES
            && let Some((number, packet)) = waiting.next()
        {
            match descender.descend(number, &packet.frame) {
                Ok(Descent { lists, packets }) => {
                    frames += packets.len();
                    down.push((number, packet, lists.len(), packets));
                    chain.extend(lists);
                }
                Err(error) => sent.problems.push(format!("{error:#}")),
            }
        }
        let lists = chain.len();
        a.send(chain)?;
        let completed = a_side.take_completed(lists, PATIENCE);
        let went_out =
            |(number, _, lists, _): &Down<'_>| check_completions(*number, *lists, &completed);
        let good = down.iter().filter(|down| went_out(down).is_ok());
        let count = good.map(|(_, _, _, packets)| packets.len()).sum();
        let on_wire = tap_side.take_received(count, PATIENCE);
        if let Some(check) = lab.machine().bug_check() {
            wire.write(&options.out.join("wire.pcap"))?;
            return Err(check.into());
        }
        let came = on_wire.len();
        let mut on_wire = on_wire.into_iter();
        for down in &down {
            let (number, packet, _, packets) = down;
            let mut record = || -> Result<()> {
                went_out(down)?;
                for (outgoing, seen) in packets.iter().zip(on_wire.by_ref()) {
                    check_untouched(&seen)?;
                    wire.packets.push(Packet::new(packet.timestamp, seen.frame));
                    sent.packets += 1;
                    match outgoing.protection {
                        Ok(_) => sent.protected += 1,
                        Err(reason) => sent.clear.note(reason, &outgoing.plain),
                    }
                }
                Ok(())
            };
            if let Err(error) = record() {
                let about = describe(&packet.frame);
                sent.problems
                    .push(format!("packet {number} ({about}): {error:#}"));
            }
            progress.set_position(*number as u64);
        }
        if came < count {
            // What is on the wire does not tell which packet it was.
            let numbers = |of: Option<&Down<'_>>| of.map_or(0, |(number, ..)| *number);
            sent.problems.push(format!(
                "of the packets from {} to {} only {came} of {count} frames were on the wire: stopped there, \
                 and which of them are missing is not known",
                numbers(down.first()),
                numbers(down.last())
            ));
            break;
        }
    }
    sent.reasons = sent.clear.lines(&file.sas);
    if let Err(error) = input.check_whole(&options.input) {
        sent.problems.push(error.to_string());
    }

    a.delete_sas(&handles)?;
    wire.write(&options.out.join("wire.pcap"))?;
    wireshark::write_configuration(&options.out, &file.sas)?;
    drop((a, tap));
    lab.finish()?;
    Ok(sent)
}
