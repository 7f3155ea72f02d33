//! What is printed at the end.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;
use tcpip::{
    receive::Received, run::Outcome, send::Sent, throughput::Throughput, wireshark, words::count,
};

/// Prints the table, and writes it as `summary.json` too.
pub fn run(out: &Path, outcome: &Outcome, throughput: Option<&Throughput>) -> Result<()> {
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
            "Gbit/s     {:>9.2}  encrypted, copied, verified and decrypted in the simulator, on {} of a host with {}",
            throughput.gbit_per_second,
            count(throughput.processors, "simulated processor"),
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
        "problems": outcome.problems,
        "clear": clear,
        "throughput": throughput,
    });
    fs::write(
        out.join("summary.json"),
        serde_json::to_string_pretty(&summary)? + "\n",
    )?;
    Ok(())
}

/// Prints what was sent, and why packets went in the clear.
pub fn send(out: &Path, sent: &Sent) {
    say!(
        "{} on the wire, {} of them protected: {}",
        count(sent.packets, "packet"),
        sent.protected,
        out.join("wire.pcap").display()
    );
    let clear = sent.clear.packets();
    if clear > 0 {
        say!("{} in the clear:", count(clear, "packet"));
        for line in &sent.reasons {
            say!("{line}");
        }
    }
}

/// Prints what was received, and which packets failed.
pub fn receive(out: &Path, received: &Received) {
    let lines = &received.lines;
    let done = lines.iter().filter(|line| line.crypto_done).count();
    let failed = lines.iter().filter(|line| line.is_failed()).count();
    say!(
        "{} indicated, {} verified, {failed} failed, {} untouched: {}",
        count(lines.len(), "packet"),
        done - failed,
        lines.len() - done,
        out.join("received.jsonl").display()
    );
    for (status, numbers) in received.failed() {
        let packets = if numbers.len() == 1 {
            "packet"
        } else {
            "packets"
        };
        say!("  {status}: {packets} {}", ranges(&numbers));
    }
}

/// Rising numbers, neighbours together: `1, 3-5`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts: Vec<_> = ranges
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(", ")
}
