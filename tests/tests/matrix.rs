//! Every algorithm, mode, packet size and memory layout through the real driver, against software
//! that shares nothing with it. Prints a table of what was proved against what.
//!
//! `IPSECOV2_MATRIX=wide` goes through every size; `IPSECOV2_MATRIX_SEED` makes other keys.

use std::{
    env,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use ipsecov2_tests::matrix::{
    check::{Checker, Plan},
    report::{Line, Tally, table},
    rows::Advertised,
    sizes::Sizes,
};
use libtest_mimic::{Arguments, Failed, Trial};
use tcpip::lab::NdisVersion;

const DEFAULT_SEED: u64 = 20_220_401;

/// A group, how many rows it has, and how they are gone through.
struct Expected {
    name: &'static str,
    rows: [usize; 2],
    plan: Plan,
}

/// Every residue and boundary in every row, every forgery, every packet judged by both oracles.
const THOROUGH: Plan = Plan {
    sizes: Sizes::Residues,
    forgeries: usize::MAX,
    scapy: 1,
};

/// What is left of that where there are many rows.
const fn rotated(sizes: usize, forgeries: usize, scapy: usize) -> Plan {
    Plan {
        sizes: Sizes::Rotated(sizes),
        forgeries,
        scapy,
    }
}

const fn expected(name: &'static str, rows: usize, legacy: usize, plan: Plan) -> Expected {
    Expected {
        name,
        rows: [rows, legacy],
        plan,
    }
}

/// Of 20 ESP suites (9 of AES-GCM by its ICVs, 6 of AES-CBC, 5 with null encryption) and 5 of AH:
/// 2 families, or 4 pairs of them in tunnels, and ESN or not of each header. Bundles also of the
/// 4 ciphers without authentication. In each other: all these and 5 bundles. What
/// `LegacyAlgorithms` adds: 10 ESP suites, one of AH, 96 bundles, of which 2 in each other.
const EXPECTED: [Expected; 11] = [
    expected("esp_transport", 80, 40, THOROUGH),
    expected("esp_tunnel", 160, 80, THOROUGH),
    expected("udp_esp_transport", 0, 0, THOROUGH),
    expected("udp_esp_tunnel", 0, 0, THOROUGH),
    expected("ah_transport", 20, 4, THOROUGH),
    expected("ah_tunnel", 40, 8, THOROUGH),
    expected("ah_over_esp_transport", 960, 768, rotated(4, 4, 4)),
    expected("ah_over_esp_tunnel", 1920, 1536, rotated(2, 4, 4)),
    expected("transport_over_tunnel", 7200, 1352, rotated(2, 3, 8)),
    expected("transport_over_udp_esp_tunnel", 0, 0, rotated(2, 3, 8)),
    expected("udp_esp_transport_over_tunnel", 0, 0, rotated(2, 3, 8)),
];

fn run(expected: &Expected, at: usize, legacy: bool, seed: u64) -> Result<Tally> {
    let version = NdisVersion::ALL[(at + usize::from(legacy)) % NdisVersion::ALL.len()];
    let mut checker = Checker::start(version, legacy, seed)?;
    let advertised = Advertised::new(checker.bench.advertised()?);
    let groups = advertised.groups(legacy);
    let group = groups.iter().find(|group| group.name == expected.name);
    let rows = group.map_or(&[][..], |group| &group.rows);
    let wanted = expected.rows[usize::from(legacy)];
    ensure!(
        rows.len() == wanted,
        "{}: the adapter offers {} rows of {wanted}",
        expected.name,
        rows.len()
    );
    let mut tally = Tally::default();
    for (index, row) in rows.iter().enumerate() {
        tally += checker.row(index, row, &expected.plan)?;
    }
    checker.bench.finish()?;
    Ok(tally)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let seed = match env::var("IPSECOV2_MATRIX_SEED") {
        Ok(text) => text.parse().expect("IPSECOV2_MATRIX_SEED is a number"),
        Err(_) => DEFAULT_SEED,
    };
    let lines: Arc<Mutex<Vec<(usize, Line)>>> = Arc::default();
    let mut trials = Vec::new();
    for legacy in [false, true] {
        for (at, expected) in EXPECTED.iter().enumerate() {
            let name = format!("{}{}", expected.name, if legacy { "_legacy" } else { "" });
            let lines = lines.clone();
            trials.push(Trial::test(name.clone(), move || {
                let start = Instant::now();
                let tally = run(expected, at, legacy, seed)
                    .map_err(|error| Failed::from(format!("{error:#}")))?;
                let line = Line {
                    group: name,
                    tally,
                    seconds: start.elapsed().as_secs_f64(),
                };
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push((at + 100 * usize::from(legacy), line));
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.sort_by_key(|(at, _)| *at);
    let lines: Vec<_> = lines.iter().map(|(_, line)| line.clone()).collect();
    if !lines.is_empty() {
        println!("seed {seed}\n{}", table(&lines));
    }
    conclusion.exit_code()
}
