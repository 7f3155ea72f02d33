//! The jobs of the Windows Hardware Lab Kit that apply to this device, against the real driver in the simulator.
//! `docs/hlk.md` says what is mirrored and how.
//!
//! A file per job. To add one: write `pub fn job() -> Job` in a file with the job's name, call it in [`jobs`], and
//! have the name in `jobs.json`.

use std::process::ExitCode;

use ipsecov2_tests::hlk::{Catalogue, Job, run};

mod ipsec_esp;
mod packets;

fn jobs() -> Vec<Job> {
    vec![ipsec_esp::job()]
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
