//! Runs the driver in the simulated machine; `cargo xtask run`, `send` and `receive` call it.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lab_options::command_line::{Cli, Command, MachineArguments, SaArguments};
use tcpip::{
    capture::Capture,
    lab::{LabOptions, keywords},
    plan::Plan,
    policy::{Keys, Offers},
    receive::{ReceiveOptions, receive_far},
    run::{RunOptions, run},
    sas::SaFile,
    send::{SendOptions, send},
    synthetic,
    throughput::{Load, Throughput, measure},
    wireshark,
};

/// Prints a line. Whether anybody reads it (`| head`) does not change the result.
macro_rules! say {
    ($($arguments:tt)*) => {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($arguments)*)),
        );
    };
}

mod report;

fn main() -> ExitCode {
    match execute(Cli::parse()) {
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

/// What SAs to make.
fn plan(arguments: &SaArguments) -> Plan {
    Plan {
        shape: arguments.shape(),
        suite: arguments.algorithm,
        icv_length: arguments.icv_length.unwrap_or(16),
        esn: arguments.esn,
        keys: if arguments.random_keys {
            Keys::Random
        } else {
            Keys::Seed(arguments.seed)
        },
    }
}

fn execute(cli: Cli) -> Result<()> {
    let own = keywords(&cli.machine.inf)?;
    cli.check(&own.iter().map(String::as_str).collect::<Vec<_>>())?;
    let Cli {
        machine: arguments,
        command,
    } = cli;
    let arguments = &arguments;
    let lab = LabOptions {
        sys: arguments.sys.clone(),
        inf: arguments.inf.clone(),
        ndis_version: arguments.ndis_version,
        processors: arguments.processors,
        canaries: true,
        keywords: arguments.all_keywords(),
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
            let plan = plan(&sas);
            let options = RunOptions {
                lab: lab.clone(),
                input: input.clone(),
                out: out.clone(),
                shape: plan.shape,
                suite: plan.suite,
                icv_length: plan.icv_length,
                esn: plan.esn,
                keys: plan.keys,
                split,
                burst,
            };
            let outcome = run(&options, &progress)?;
            progress.finish_and_clear();
            let throughput = if measure > 0.0
                && outcome.packets > 0
                && outcome.failures.is_empty()
                && outcome.problems.is_empty()
            {
                let capture = Capture::read(&input)?;
                let frames: Vec<_> = capture.packets.iter().map(|p| p.frame.as_slice()).collect();
                let file = SaFile::read(&out.join("sas.json"))?;
                Some(timed(&lab, &frames, &file, arguments, measure)?)
            } else {
                None
            };
            report::run(&out, &outcome, throughput.as_ref())?;
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
            report::send(&out, &sent);
            say!(
                "decrypted view: {}",
                wireshark::command_line(&out, "wire.pcap")
            );
            sent.complete().map(drop)
        }
        Command::Receive { sas, input, out } => {
            progress.set_message("packets");
            let options = ReceiveOptions {
                lab,
                sas,
                input,
                out: out.clone(),
                split,
                burst,
            };
            let received = receive_far(&options, &progress)?;
            progress.finish_and_clear();
            report::receive(&out, &received);
            received.complete().map(drop)
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
                let file = plan(&sas).make(frames.into_iter(), &Offers::EVERYTHING)?;
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
