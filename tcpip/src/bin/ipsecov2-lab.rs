//! Runs the driver in the simulated machine; `cargo xtask run`, `send` and `receive` call it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tcpip::{
    algorithm::Suite,
    capture::Capture,
    lab::{LabOptions, NdisVersion},
    policy::Keys,
    receive::{ReceiveOptions, receive},
    run::{Outcome, RunOptions, run},
    sas::SaFile,
    send::{SendOptions, send},
    split::Split,
    synthetic,
    throughput::{Load, Throughput, measure},
    wireshark,
};

/// Prints a line. Whether anybody reads it (`| head`) does not change the result.
macro_rules! say {
    ($($arguments:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    };
}

/// The ipsecov2 driver between simulated adapters.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    machine: MachineArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct MachineArguments {
    /// The driver file
    #[arg(long, global = true, default_value = "target/driver/x64/ipsecov2.sys")]
    sys: PathBuf,
    /// The driver's INF
    #[arg(long, global = true, default_value = "inf/ipsecov2.inx")]
    inf: PathBuf,
    /// The NDIS version that the driver registers with: 6.1, 6.20 or 6.30
    #[arg(long, global = true, default_value_t)]
    ndis_version: NdisVersion,
    /// Processors of the simulated machine
    #[arg(long, global = true, default_value_t = 2, value_parser = at_least_one::<64>)]
    processors: usize,
    /// NET_BUFFER_LISTs per send call
    #[arg(long, global = true, default_value_t = 32, value_parser = at_least_one::<8192>)]
    burst: usize,
    /// How packets lie in memory: whole, headers (headers, payload and trailer apart), random,
    /// random:SEED, or a number of bytes per MDL
    #[arg(long, global = true, default_value_t = Split::Headers)]
    split: Split,
}

#[derive(Subcommand)]
enum Command {
    /// A capture goes out of one adapter protected and comes up at another verified
    Run {
        /// The capture to send
        #[arg(long, default_value = "tests/data/traffic.pcap")]
        input: PathBuf,
        /// Where the results go
        #[arg(long, default_value = "out")]
        out: PathBuf,
        #[command(flatten)]
        sas: SaArguments,
        /// Seconds of traffic to measure the throughput with; 0 for none
        #[arg(long, default_value_t = 1.0, value_parser = seconds)]
        measure: f64,
    },
    /// Only the sending side: plain packets become frames on the wire
    Send {
        /// The security associations
        #[arg(long)]
        sas: PathBuf,
        /// The capture of plain packets
        #[arg(long)]
        input: PathBuf,
        /// Where the results go
        #[arg(long, default_value = "out")]
        out: PathBuf,
    },
    /// Only the receiving side: frames of the wire are indicated, with the driver's verdicts
    Receive {
        /// The security associations
        #[arg(long)]
        sas: PathBuf,
        /// The capture of the wire
        #[arg(long)]
        input: PathBuf,
        /// Where the results go
        #[arg(long, default_value = "out")]
        out: PathBuf,
    },
    /// The throughput of UDP over IPv4, by size of the IP packet
    Throughput {
        /// Bytes of the plain IP packets
        #[arg(long, value_delimiter = ',', default_value = "64,576,1420")]
        sizes: Vec<usize>,
        #[command(flatten)]
        sas: SaArguments,
        /// Seconds per size
        #[arg(long, default_value_t = 2.0, value_parser = seconds)]
        measure: f64,
    },
}

#[derive(Args)]
struct SaArguments {
    /// Algorithms of the SAs, by their names in sas.json: aes-gcm-256, or a cipher and an
    /// authenticator as in aes-cbc-128+hmac-sha-256-128 and null+aes-gmac-128
    #[arg(long, default_value = "aes-gcm-256")]
    algorithm: Suite,
    /// Bytes of ICV, of AES-GCM only: 8, 12 or 16 [default: 16]
    #[arg(long)]
    icv_length: Option<usize>,
    /// Extended (64-bit) sequence numbers
    #[arg(long)]
    esn: bool,
    /// Seed of the keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keys from the operating system instead
    #[arg(long)]
    random_keys: bool,
}

impl SaArguments {
    fn icv_length(&self) -> Result<usize> {
        ensure!(
            self.icv_length.is_none() || self.algorithm.encryption.is_gcm(),
            "the ICV of {} has only one length",
            self.algorithm
        );
        Ok(self.icv_length.unwrap_or(16))
    }

    fn keys(&self) -> Keys {
        if self.random_keys {
            Keys::Random
        } else {
            Keys::Seed(self.seed)
        }
    }
}

fn main() -> ExitCode {
    let Cli { machine, command } = Cli::parse();
    match execute(&machine, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes, without those that only repeat the one before.
fn in_words(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}

fn execute(arguments: &MachineArguments, command: Command) -> Result<()> {
    let lab = LabOptions {
        sys: arguments.sys.clone(),
        inf: arguments.inf.clone(),
        ndis_version: arguments.ndis_version,
        processors: arguments.processors,
        canaries: true,
    };
    let (split, burst) = (arguments.split, arguments.burst);
    let progress = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{msg:10} [{bar:40}] {pos}/{len}")
            .expect("the template is right")
            .progress_chars("=> "),
    );
    match command {
        Command::Run {
            input,
            out,
            sas,
            measure,
        } => {
            progress.set_message("packets");
            let options = RunOptions {
                lab: lab.clone(),
                input: input.clone(),
                out: out.clone(),
                suite: sas.algorithm,
                icv_length: sas.icv_length()?,
                esn: sas.esn,
                keys: sas.keys(),
                split,
                burst,
            };
            let outcome = run(&options, &progress)?;
            progress.finish_and_clear();
            let throughput = if measure > 0.0 && outcome.packets > 0 && outcome.failures.is_empty()
            {
                let capture = Capture::read(&input)?;
                let frames: Vec<_> = capture.packets.iter().map(|p| p.frame.as_slice()).collect();
                let file = SaFile::read(&out.join("sas.json"))?;
                Some(timed(&lab, &frames, &file, arguments, measure)?)
            } else {
                None
            };
            report(&out, &outcome, throughput.as_ref())?;
            outcome.passed().map(drop)
        }
        Command::Send { sas, input, out } => {
            progress.set_message("packets");
            let options = SendOptions {
                lab,
                sas,
                input,
                out: out.clone(),
                split,
                burst,
            };
            let sent = send(&options, &progress)?;
            progress.finish_and_clear();
            say!(
                "{} packets on the wire, {} of them encrypted: {}",
                sent.packets,
                sent.protected,
                out.join("wire.pcap").display()
            );
            say!(
                "decrypted view: {}",
                wireshark::command_line(&out, "wire.pcap")
            );
            Ok(())
        }
        Command::Receive { sas, input, out } => {
            progress.set_message("packets");
            let options = ReceiveOptions {
                lab,
                sas,
                input,
                out: out.clone(),
                burst,
            };
            let lines = receive(&options, &progress)?;
            progress.finish_and_clear();
            let done = lines.iter().filter(|line| line.crypto_done);
            let verified = done
                .clone()
                .filter(|line| line.crypto_status == "CRYPTO_SUCCESS");
            let (done, verified) = (done.count(), verified.count());
            say!(
                "{} packets indicated, {verified} verified, {} failed, {} untouched: {}",
                lines.len(),
                done - verified,
                lines.len() - done,
                out.join("received.jsonl").display()
            );
            Ok(())
        }
        Command::Throughput {
            sizes,
            sas,
            measure,
        } => {
            say!("IP packet  packets/s  Gbit/s of plain frames");
            for size in sizes {
                let frame = synthetic::udp_v4(size)?;
                let frames = [frame.as_slice()];
                let mut file = tcpip::policy::make_sas(
                    frames.into_iter(),
                    &tcpip::policy::Offers::EVERYTHING,
                    sas.algorithm,
                    sas.icv_length()?,
                    sas.keys(),
                )?;
                if sas.esn {
                    file.extend_sequence_numbers();
                }
                let result = timed(&lab, &frames, &file, arguments, measure)?;
                say!(
                    "{size:9}  {:9.0}  {:.3}",
                    result.packets as f64 / result.seconds,
                    result.gbit_per_second
                );
            }
            Ok(())
        }
    }
}

fn timed(
    lab: &LabOptions,
    frames: &[&[u8]],
    file: &SaFile,
    arguments: &MachineArguments,
    seconds: f64,
) -> Result<Throughput> {
    let load = Load {
        frames,
        sas: &file.sas,
        split: arguments.split,
        burst: arguments.burst,
        window: 2,
        duration: Duration::from_secs_f64(seconds),
    };
    measure(lab, &load)
}

/// Prints the table, and writes it as `summary.json` too.
fn report(out: &Path, outcome: &Outcome, throughput: Option<&Throughput>) -> Result<()> {
    let clear: usize = outcome.clear.values().sum();
    let reasons: Vec<_> = outcome
        .clear
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    say!("packets    {:>9}", outcome.packets);
    say!("bytes      {:>9}", outcome.bytes);
    say!(
        "encrypted  {:>9}  equal on the wire to what software makes of them",
        outcome.encrypted
    );
    say!("verified   {:>9}  equal to what was sent", outcome.verified);
    say!("failed     {:>9}", outcome.failures.len());
    say!("in clear   {clear:>9}  {}", reasons.join(", "));
    if let Some(throughput) = throughput {
        say!(
            "Gbit/s     {:>9.2}  encrypted, copied, verified and decrypted in the simulator, on {} simulated processors of a host with {}",
            throughput.gbit_per_second,
            throughput.processors,
            std::thread::available_parallelism().map_or(1, usize::from)
        );
    }
    say!("");
    say!("wire, received, SAs and this table: {}", out.display());
    say!(
        "decrypted view: {}",
        wireshark::command_line(out, "wire.pcap")
    );

    let clear: serde_json::Map<_, _> = outcome
        .clear
        .iter()
        .map(|(reason, count)| (reason.to_string(), json!(count)))
        .collect();
    let summary = json!({
        "packets": outcome.packets,
        "bytes": outcome.bytes,
        "encrypted": outcome.encrypted,
        "verified": outcome.verified,
        "failed": outcome.failures.len(),
        "failures": outcome.failures,
        "clear": clear,
        "throughput": throughput,
    });
    fs::write(
        out.join("summary.json"),
        serde_json::to_string_pretty(&summary)? + "\n",
    )?;
    Ok(())
}

/// A number from 1 to `MOST`.
fn at_least_one<const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {MOST} is wanted")),
    }
}

/// A length of time that a measurement may take.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=3600.0).contains(&number) => Ok(number),
        _ => Err("seconds from 0 to 3600 are wanted".into()),
    }
}
