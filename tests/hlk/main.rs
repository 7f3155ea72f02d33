//! The jobs of the Windows Hardware Lab Kit that apply to this device, against the real driver in the simulator.
//! `docs/hlk.md` says what is mirrored and how.
//!
//! A file per job. To add one: write `pub fn job() -> Job` in a file with the job's name, call it in [`jobs`], and
//! have the name in `jobs.json`.

use std::process::ExitCode;

use ipsecov2_tests::hlk::{Catalogue, Job, run};

mod address_change;
mod c1_64bit_oids;
mod c1_fault_handling;
mod c1_kernel_calls;
mod c1_mini6_perf_send;
mod c1_mini6_send;
mod c2_mini6_check_connections;
mod c2_mini6_performance;
mod c2_mini6_send_recv;
mod c2_mini6_send_recv_reply;
mod c2_mini6_stress;
mod c2_oids_ndis_request;
mod c2_priority;
mod check_connectivity;
mod check_connectivity_with_auto_fail;
mod config_check;
mod generic_miniport_requirements;
mod glitch_free_device;
mod invalid_packets;
mod ipsec;
mod ipsec_ah;
mod ipsec_ah_esp;
mod ipsec_coexistence;
mod ipsec_esp;
mod link_check;
mod multi_cast;
mod offload_checksum;
mod offload_lso;
mod offload_misc;
mod offload_parity;
mod packet_filters;
mod packets;
mod pm_power_state_transition;
mod pm_requirements;
mod reset;
mod short_packets;
mod single_ether_type;
mod standardized_keywords;
mod stats;
mod tov2_algorithms;
mod tov2_data;
mod variety;
mod vlan_send_recv;

fn jobs() -> Vec<Job> {
    let mut jobs = vec![
        ipsec_esp::job(),
        ipsec_ah::job(),
        ipsec_ah_esp::job(),
        ipsec_coexistence::job(),
    ];
    jobs.extend(tov2_algorithms::jobs());
    jobs.extend(tov2_data::jobs());
    jobs.extend(lan());
    jobs
}

/// The jobs of a LAN miniport.
fn lan() -> Vec<Job> {
    vec![
        address_change::job(),
        c1_64bit_oids::job(),
        c1_fault_handling::job(),
        c1_kernel_calls::job(),
        c1_mini6_perf_send::job(),
        c1_mini6_send::job(),
        c2_mini6_check_connections::job(),
        c2_mini6_performance::job(),
        c2_mini6_send_recv::job(),
        c2_mini6_send_recv_reply::job(),
        c2_mini6_stress::job(),
        c2_oids_ndis_request::job(),
        c2_priority::job(),
        check_connectivity::job(),
        check_connectivity_with_auto_fail::job(),
        config_check::job(),
        generic_miniport_requirements::job(),
        glitch_free_device::job(),
        invalid_packets::job(),
        link_check::job(),
        multi_cast::job(),
        offload_checksum::job(),
        offload_lso::job(),
        offload_misc::job(),
        offload_parity::job(),
        packet_filters::job(),
        pm_power_state_transition::job(),
        pm_requirements::job(),
        reset::job(),
        short_packets::job(),
        single_ether_type::job(),
        standardized_keywords::job(),
        stats::job(),
        vlan_send_recv::job(),
    ]
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
