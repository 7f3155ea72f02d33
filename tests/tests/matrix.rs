//! Every algorithm, mode, packet size and memory layout through the real driver, against software
//! that shares nothing with it. Prints a table of what was proved against what.
//!
//! `IPSECOV2_MATRIX=wide` goes through every size; `IPSECOV2_MATRIX_SEED` makes other keys.

use std::{
    collections::BTreeMap,
    env,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use ipsecov2_tests::matrix::{
    check::{Checker, Plan, scapy_can},
    report::{Group, Tally, table},
    row::Row,
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
    expected("udp_esp_transport", 80, 40, THOROUGH),
    expected("udp_esp_tunnel", 160, 80, THOROUGH),
    expected("ah_transport", 20, 4, THOROUGH),
    expected("ah_tunnel", 40, 8, THOROUGH),
    expected("ah_over_esp_transport", 960, 768, rotated(4, 4, 4)),
    expected("ah_over_esp_tunnel", 1920, 1536, rotated(2, 4, 4)),
    expected("transport_over_tunnel", 7200, 1352, rotated(2, 3, 8)),
    expected(
        "transport_over_udp_esp_tunnel",
        4800,
        1040,
        rotated(2, 3, 8),
    ),
    expected(
        "udp_esp_transport_over_tunnel",
        4800,
        1040,
        rotated(2, 3, 8),
    ),
];

/// In every size: AES-GCM, AES-CBC, null encryption and AH, one of each mode and family.
const SWEPT: [(&str, usize); 8] = [
    ("esp_transport", 0),
    ("esp_transport", 23),
    ("esp_transport", 79),
    ("esp_tunnel", 45),
    ("esp_tunnel", 110),
    ("udp_esp_transport", 50),
    ("ah_transport", 2),
    ("ah_tunnel", 31),
];

/// How the groups of one SA are gone through when there is time for every size.
const WIDE: Plan = Plan {
    sizes: Sizes::Every,
    forgeries: usize::MAX,
    scapy: 16,
};

/// And the others.
const WIDE_MANY: Plan = Plan {
    sizes: Sizes::Residues,
    forgeries: usize::MAX,
    scapy: 8,
};

/// A machine with a checker, and the rows of a group, all of which must be there.
fn start(expected: &Expected, legacy: bool, at: usize, seed: u64) -> Result<(Checker, Vec<Row>)> {
    let version = NdisVersion::ALL[(at + usize::from(legacy)) % NdisVersion::ALL.len()];
    let checker = Checker::start(version, legacy, seed)?;
    let advertised = Advertised::new(checker.bench.advertised()?);
    ensure!(
        advertised.has_options(),
        "the adapter offers no IPv4 options or no IPv6 extension headers"
    );
    let groups = advertised.groups(legacy).into_iter();
    let mut rows = groups.filter(|group| group.name == expected.name);
    let rows = rows.next().map(|group| group.rows).unwrap_or_default();
    let wanted = expected.rows[usize::from(legacy)];
    ensure!(
        rows.len() == wanted,
        "the adapter offers {} rows of {wanted}",
        rows.len()
    );
    Ok((checker, rows))
}

fn go_through<'r>(
    checker: &mut Checker,
    rows: impl Iterator<Item = (usize, &'r Row)>,
    plan: &Plan,
) -> Result<[Tally; 2]> {
    let mut tallies = [Tally::default(); 2];
    for (index, row) in rows {
        tallies[usize::from(!scapy_can(row))] += checker.row(index, row, plan)?;
    }
    Ok(tallies)
}

/// A group with a plan.
fn group(at: usize, legacy: bool, wide: bool, seed: u64) -> Result<[Tally; 2]> {
    let expected = &EXPECTED[at];
    let (mut checker, rows) = start(expected, legacy, at, seed)?;
    let plan = match (wide, expected.plan.sizes) {
        (false, _) => &expected.plan,
        (true, Sizes::Residues) => &WIDE,
        (true, _) => &WIDE_MANY,
    };
    let tallies = go_through(&mut checker, rows.iter().enumerate(), plan)?;
    checker.bench.finish()?;
    Ok(tallies)
}

/// Single rows in every size.
fn sweep(seed: u64) -> Result<[Tally; 2]> {
    let mut tallies = [Tally::default(); 2];
    for (name, index) in SWEPT {
        let named = EXPECTED.iter().position(|expected| expected.name == name);
        let at = named.expect("it is a group");
        let (mut checker, rows) = start(&EXPECTED[at], false, at, seed)?;
        let row = rows.get(index).map(|row| (index, row));
        let plan = Plan { scapy: 64, ..WIDE };
        let [with_scapy, without] = go_through(&mut checker, row.into_iter(), &plan)?;
        tallies[0] += with_scapy;
        tallies[1] += without;
        checker.bench.finish()?;
    }
    Ok(tallies)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let seed = match env::var("IPSECOV2_MATRIX_SEED") {
        Ok(text) => text.parse().expect("IPSECOV2_MATRIX_SEED is a number"),
        Err(_) => DEFAULT_SEED,
    };
    let wide = match env::var("IPSECOV2_MATRIX") {
        Ok(text) if text == "wide" => true,
        Ok(text) => panic!("IPSECOV2_MATRIX={text:?} is not \"wide\""),
        Err(_) => false,
    };
    let done: Arc<Mutex<BTreeMap<usize, Group>>> = Arc::default();
    let mut trials = Vec::new();
    let mut add = |name: String, run: Box<dyn FnOnce() -> Result<[Tally; 2]> + Send>| {
        let (done, place, shown) = (done.clone(), trials.len(), name.clone());
        trials.push(Trial::test(name, move || {
            let start = Instant::now();
            let tallies = run().map_err(|error| Failed::from(format!("{error:#}")))?;
            let group = Group {
                name: shown,
                tallies,
                seconds: start.elapsed().as_secs_f64(),
            };
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.insert(place, group);
            Ok(())
        }));
    };
    // The longest comes first.
    add("every_size".to_owned(), Box::new(move || sweep(seed)));
    for legacy in [false, true] {
        for (at, expected) in EXPECTED.iter().enumerate() {
            let name = format!("{}{}", expected.name, if legacy { "_legacy" } else { "" });
            add(name, Box::new(move || group(at, legacy, wide, seed)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let done = done.lock().unwrap_or_else(PoisonError::into_inner);
    if !done.is_empty() {
        let groups: Vec<_> = done.values().cloned().collect();
        println!("seed {seed}\n\n{}", table(&groups));
    }
    conclusion.exit_code()
}
