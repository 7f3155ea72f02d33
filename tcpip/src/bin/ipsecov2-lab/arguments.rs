//! The command line.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, de::IntoDeserializer, de::value::Error as NameError};
use tcpip::{
    algorithm::{Authentication, Suite},
    lab::NdisVersion,
    plan::{Plan, PlanMode, Protocol, Shape, UdpPlace, Version},
    policy::Keys,
    split::Split,
};

/// The ipsecov2 driver between simulated adapters.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(flatten)]
    pub machine: MachineArguments,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct MachineArguments {
    /// The driver file
    #[arg(long, global = true, default_value = "target/driver/x64/ipsecov2.sys")]
    pub sys: PathBuf,
    /// The driver's INF
    #[arg(long, global = true, default_value = "inf/ipsecov2.inx")]
    pub inf: PathBuf,
    /// The NDIS version that the driver registers with: 6.1, 6.20 or 6.30
    #[arg(long, global = true, default_value_t)]
    pub ndis_version: NdisVersion,
    /// Processors of the simulated machine
    #[arg(long, global = true, default_value_t = 2, value_parser = at_least_one::<64>)]
    pub processors: usize,
    /// NET_BUFFER_LISTs per send call: at most 256, for the receiver has 512 buffers
    #[arg(long, global = true, default_value_t = 32, value_parser = at_least_one::<256>)]
    pub burst: usize,
    /// How packets lie in memory: whole, headers (headers, payload and trailer apart), random,
    /// random:SEED, or a number of bytes per MDL
    #[arg(long, global = true, default_value_t = Split::Headers)]
    pub split: Split,
    /// A keyword of the adapters, as in LegacyAlgorithms=1 (which offers DES, 3DES and MD5); can be
    /// given several times
    #[arg(long = "keyword", global = true, value_name = "NAME=VALUE", value_parser = keyword)]
    pub keywords: Vec<(String, String)>,
}

#[derive(Subcommand)]
pub enum Command {
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
pub struct SaArguments {
    /// Modes of the SAs: an SA per pair of hosts, a tunnel for all packets, or the one in the other
    #[arg(long, value_enum, default_value_t)]
    mode: PlanMode,
    /// IPsec headers of each SA
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,
    /// Algorithms of ESP, by their names in sas.json: aes-gcm-256, or a cipher and an
    /// authenticator as in aes-cbc-128+hmac-sha-256-128 and null+aes-gmac-128; in AH also
    /// aes-cbc-128+none
    #[arg(long, default_value = "aes-gcm-256")]
    algorithm: Suite,
    /// Algorithm of AH, by its name in sas.json
    #[arg(long, default_value = "hmac-sha-256-128", value_parser = authentication)]
    ah_algorithm: Authentication,
    /// UDP encapsulation of ESP (port 4500); with transport over tunnel that of the tunnel (outer)
    /// or of what is in it (inner)
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "outer", require_equals = true)]
    udp_esp: Option<UdpPlace>,
    /// IP version of the tunnels [default: that of the packet in it]
    #[arg(long, value_enum)]
    outer: Option<Version>,
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
    /// What SAs to make.
    pub fn plan(&self) -> Result<Plan> {
        ensure!(
            self.icv_length.is_none() || self.algorithm.encryption.is_gcm(),
            "the ICV of {} has only one length",
            self.algorithm
        );
        Ok(Plan {
            shape: Shape {
                mode: self.mode,
                protocol: self.protocol,
                ah: self.ah_algorithm,
                udp_esp: self.udp_esp,
                outer: self.outer,
            },
            suite: self.algorithm,
            icv_length: self.icv_length.unwrap_or(16),
            esn: self.esn,
            keys: self.keys(),
        })
    }

    fn keys(&self) -> Keys {
        if self.random_keys {
            Keys::Random
        } else {
            Keys::Seed(self.seed)
        }
    }
}

/// An authentication algorithm by its name in sas.json.
fn authentication(name: &str) -> Result<Authentication, NameError> {
    Authentication::deserialize(name.into_deserializer())
}

/// A keyword and its value.
fn keyword(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
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
