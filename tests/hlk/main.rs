//! The jobs of the Windows Hardware Lab Kit that apply to this device, against the real driver in the simulator.
//! `docs/hlk.md` says what is mirrored and how.
//!
//! A file per job. To add one: write `pub fn job() -> Job` in a file with the job's name, call it in [`jobs`], and
//! have the name in `jobs.json`.

use std::process::ExitCode;

use ipsecov2_tests::hlk::{Catalogue, Job, run};

mod ipsec;
mod ipsec_ah;
mod ipsec_ah_esp;
mod ipsec_coexistence;
mod ipsec_esp;
mod packets;
mod tov2_algorithms;
mod tov2_data;
mod variety;

fn jobs() -> Vec<Job> {
    let mut jobs = vec![
        ipsec_esp::job(),
        ipsec_ah::job(),
        ipsec_ah_esp::job(),
        ipsec_coexistence::job(),
    ];
    jobs.extend(tov2_algorithms::jobs());
    jobs.extend(tov2_data::jobs());
    jobs
}

fn main() -> ExitCode {
    match Catalogue::parse(include_str!("jobs.json")) {
        Ok(catalogue) => run(jobs(), &catalogue),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
