//! The whole way: a capture goes out of adapter A protected, over the wire (where a third
//! adapter, T, listens), and comes up at adapter B verified.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use ndis_sys::{NDIS_PACKET_TYPE_DIRECTED, NDIS_PACKET_TYPE_PROMISCUOUS};

use crate::{
    algorithm::Suite,
    capture::{Capture, Packet},
    compare::describe,
    iv::IvWatch,
    lab::{Lab, LabOptions, PATIENCE, TooLong, net_buffer_list},
    offload::Way,
    outbound::Sender,
    plan::{Plan, Shape},
    policy::{Clear, Keys},
    recorder::Recorder,
    split::Split,
    verify::{check_completion, check_indicated, check_received, check_wire},
    wireshark,
    words::count,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Machine and driver.
    pub lab: LabOptions,
    /// The capture to send.
    pub input: PathBuf,
    /// Where the results go.
    pub out: PathBuf,
    /// Headers and modes of all SAs.
    pub shape: Shape,
    /// Algorithms of ESP.
    pub suite: Suite,
    /// Bytes of ICV, if the algorithm is AES-GCM.
    pub icv_length: usize,
    /// Extended sequence numbers, from 2^32 + 1.
    pub esn: bool,
    /// Where the keys come from.
    pub keys: Keys,
    /// How frames lie in memory.
    pub split: Split,
    /// NET_BUFFER_LISTs per send call.
    pub burst: usize,
}

impl RunOptions {
    fn plan(&self) -> Plan {
        Plan {
            shape: self.shape,
            suite: self.suite,
            icv_length: self.icv_length,
            esn: self.esn,
            keys: self.keys,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Packets sent.
    pub packets: usize,
    /// Their bytes, as in the input.
    pub bytes: usize,
    /// Packets that the driver encrypted, each as software does.
    pub encrypted: usize,
    /// Packets that the driver verified and decrypted, each to what was sent.
    pub verified: usize,
    /// Packets that went as they are, by reason.
    pub clear: BTreeMap<Clear, usize>,
    /// A message for each packet that was not as it must be, with its number.
    pub failures: Vec<String>,
    /// What else was not as it must be: packets that were not tried, a capture that ends early.
    pub problems: Vec<String>,
}

impl Outcome {
    /// The outcome, if nothing failed.
    pub fn passed(self) -> Result<Self> {
        let mut lines = Vec::new();
        if !self.failures.is_empty() {
            lines.push(format!("{} failed:", count(self.failures.len(), "packet")));
            lines.extend_from_slice(&self.failures);
        }
        lines.extend_from_slice(&self.problems);
        ensure!(lines.is_empty(), lines.join("\n"));
        Ok(self)
    }
}

/// Runs the scenario and writes `wire.pcap`, `received.pcap`, `sas.json` and the configuration
/// for Wireshark. Packets that fail are in the outcome; the captures have what there was of them.
///
/// # Errors
///
/// What is not about one packet: a request that fails, a rule of the simulator, a leak.
pub fn run(options: &RunOptions, progress: &ProgressBar) -> Result<Outcome> {
    let input = Capture::read_far(&options.input)?;
    fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make {}", options.out.display()))?;
    forget(
        &options.out,
        &["wire.pcap", "received.pcap", "summary.json"],
    )?;
    progress.set_length(input.packets.len() as u64);

    let longest = (1..)
        .zip(&input.packets)
        .max_by_key(|(_, packet)| packet.frame.len());
    let (number, longest) = longest.map_or((0, 0), |(number, packet)| (number, packet.frame.len()));
    let plan = options.plan();
    let largest = longest + plan.max_overhead()?;

    let lab = Lab::start(&options.lab)?;
    let [a_side, b_side, tap_side] = [(); 3].map(|()| Recorder::on(lab.machine()));
    let a = lab.port(largest, a_side.clone()).map_err(|error| {
        TooLong::explain(
            error,
            number,
            longest,
            "`send` has the adapter cut it, if tasks.large_send in sas.json says so",
        )
    })?;
    let b = lab.port(largest, b_side.clone())?;
    let tap = lab.port(largest, tap_side.clone())?;
    a.expect_link()?;
    a.set_packet_filter(NDIS_PACKET_TYPE_DIRECTED)?;
    // The addresses in the capture are not B's own.
    b.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    tap.set_packet_filter(NDIS_PACKET_TYPE_PROMISCUOUS)?;
    a.activate_offload()?;
    b.activate_offload()?;

    let offers = a.offers()?;
    ensure!(
        b.offers()? == offers,
        "two adapters of one driver offer different things"
    );
    let frames = input.packets.iter().map(|packet| packet.frame.as_slice());
    let file = plan.make(frames, &offers)?;
    file.write(&options.out.join("sas.json"))?;
    wireshark::write_configuration(&options.out, &file.sas)?;
    let outbound = a.offload(&file.sas, Way::Outbound)?;
    let inbound = b.offload(&file.sas, Way::Inbound)?;

    let mut ivs = IvWatch::default();
    let mut wire = input.like();
    let mut received = Vec::new();
    let mut outcome = Outcome::default();
    let mut sender = Sender::new(&file.sas, offers);
    let mut next = 0;
    while next < input.packets.len() {
        let burst = next..input.packets.len().min(next + options.burst.max(1));
        let outgoing = burst
            .clone()
            .map(|index| sender.prepare(index + 1, &input.packets[index].frame))
            .collect::<Result<Vec<_>>>()?;
        let chain = outgoing
            .iter()
            .map(|outgoing| net_buffer_list(outgoing, &outbound, options.split))
            .collect::<Result<Vec<_>>>()?;
        a.send(chain)?;

        let completed = a_side.take_completed(outgoing.len(), PATIENCE);
        // Only what was really sent is to be looked for.
        let sent = outgoing
            .iter()
            .filter(|outgoing| check_completion(outgoing, &completed).is_ok())
            .count();
        let on_wire = tap_side.take_received(sent, PATIENCE);
        let came_up = b_side.take_received(sent, PATIENCE);
        if let Some(check) = lab.machine().bug_check() {
            return Err(check.into());
        }
        let mut position = 0;
        for outgoing in &outgoing {
            let packet = &input.packets[outgoing.number - 1];
            outcome.packets += 1;
            outcome.bytes += packet.frame.len();
            if let Err(reason) = outgoing.protection {
                *outcome.clear.entry(reason).or_default() += 1;
            }
            let is_protected = usize::from(outgoing.protection.is_ok());
            let mut judge = || -> Result<()> {
                check_completion(outgoing, &completed)?;
                let (seen, indicated) = (on_wire.get(position), came_up.get(position));
                position += 1;
                wire.packets
                    .extend(seen.map(|seen| Packet::new(packet.timestamp, seen.frame.clone())));
                let seen = seen.context("it never was on the wire")?;
                check_wire(outgoing, seen, &file.sas).context("on the wire")?;
                if outgoing.protection.is_ok() {
                    ivs.note(&seen.frame, &file.sas)?;
                }
                outcome.encrypted += is_protected;
                let on_wire = seen;
                let seen = indicated.context("it did not come up")?;
                let checked = check_received(outgoing, seen, &file.sas, &packet.frame);
                received.push(Packet {
                    frame: checked.as_ref().unwrap_or(&seen.frame).clone(),
                    ..packet.clone()
                });
                checked.context("received")?;
                check_indicated(outgoing, &on_wire.frame, seen, &file.sas).context("received")?;
                outcome.verified += is_protected;
                Ok(())
            };
            if let Err(error) = judge() {
                outcome.failures.push(format!(
                    "packet {} ({}): {error:#}",
                    outgoing.number,
                    describe(&packet.frame)
                ));
            }
        }
        progress.set_position(burst.end as u64);
        next = burst.end;
        // After a loss what comes up does not tell which packet it was.
        if on_wire.len().min(came_up.len()) < sent {
            let (tried, all) = (burst.end, input.packets.len());
            outcome
                .problems
                .push(format!("stopped after packet {tried} of {all}"));
            break;
        }
    }

    a.delete_sas(&outbound)?;
    b.delete_sas(&inbound)?;
    lab.machine().settle()?;
    for (name, recorder) in [("B", &b_side), ("the tap", &tap_side), ("A", &a_side)] {
        if let Some(extra) = recorder.take_received(1, Duration::ZERO).first() {
            bail!(
                "{name} received a frame that was not sent: {}",
                describe(&extra.frame)
            );
        }
    }
    if let Err(error) = input.check_whole(&options.input) {
        outcome.problems.push(error.to_string());
    }
    wire.write(&options.out.join("wire.pcap"))?;
    let received = input.with_packets(received);
    received.write(&options.out.join("received.pcap"))?;
    ensure!(
        received.packets == input.packets
            || !outcome.failures.is_empty()
            || !outcome.problems.is_empty(),
        "received.pcap is not equal to the input"
    );
    drop((a, b, tap));
    lab.finish()?;
    Ok(outcome)
}

/// Takes away what an earlier run left, so that after a failure nothing looks like its result.
pub(crate) fn forget(out: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let file = out.join(name);
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot remove {}", file.display()));
        }
    }
    Ok(())
}
