//! The command line.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    NdisVersion, Split,
    algorithm::{Authentication, Suite},
    keywords,
    shape::{PlanMode, Protocol, Shape, ShapeError, UdpPlace, Version},
};

/// The ipsecov2 driver between simulated adapters.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The machine, and what is sent on it.
#[derive(Args)]
#[command(next_help_heading = "The machine")]
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
    /// The same for one that is neither standardized nor in the driver's INF
    #[arg(long = "force-keyword", global = true, value_name = "NAME=VALUE", value_parser = keyword)]
    pub forced_keywords: Vec<(String, String)>,
}

/// What to do.
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
        /// Seconds of traffic to measure the throughput with; 0 for none
        #[arg(long, default_value_t = 1.0, value_parser = seconds, allow_negative_numbers = true)]
        measure: f64,
        /// The SAs to make.
        #[command(flatten)]
        sas: SaArguments,
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
        /// Seconds per size
        #[arg(long, default_value_t = 2.0, value_parser = seconds, allow_negative_numbers = true)]
        measure: f64,
        /// The SAs to make.
        #[command(flatten)]
        sas: SaArguments,
    },
}

/// Which SAs to make.
#[derive(Args)]
#[command(next_help_heading = "The SAs to make")]
pub struct SaArguments {
    /// Modes of the SAs: an SA per pair of hosts, a tunnel for all packets, or the one in the other
    #[arg(long, value_enum, default_value_t)]
    pub mode: PlanMode,
    /// IPsec headers of each SA
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// Algorithms of ESP, by their names in sas.json: aes-gcm-256, or a cipher and an
    /// authenticator as in aes-cbc-128+hmac-sha-256-128 and null+aes-gmac-128; in AH also
    /// aes-cbc-128+none
    #[arg(long, default_value = "aes-gcm-256")]
    pub algorithm: Suite,
    /// Algorithm of AH, by its name in sas.json
    #[arg(long, default_value = "hmac-sha-256-128")]
    pub ah_algorithm: Authentication,
    /// UDP encapsulation of ESP (port 4500); with transport over tunnel that of the tunnel (outer)
    /// or of what is in it (inner)
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "outer", require_equals = true)]
    pub udp_esp: Option<UdpPlace>,
    /// IP version of the tunnels [default: that of the packet in it]
    #[arg(long, value_enum)]
    pub outer: Option<Version>,
    /// Bytes of ICV, of AES-GCM only: 8, 12 or 16 [default: 16]
    #[arg(long)]
    pub icv_length: Option<usize>,
    /// Extended (64-bit) sequence numbers
    #[arg(long)]
    pub esn: bool,
    /// Seed of the keys
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keys from the operating system instead
    #[arg(long)]
    pub random_keys: bool,
}

/// Arguments that cannot be used, each right by itself.
#[derive(Debug, thiserror::Error)]
pub enum WrongArguments {
    /// SAs that there are not.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Only AES-GCM has a choice.
    #[error("--icv-length: the ICV of {0} has only one length")]
    IcvLength(Suite),
    /// A keyword that nothing knows.
    #[error(transparent)]
    Keyword(#[from] keywords::Unknown),
    /// A file that is not there.
    #[error("{option} {}: cannot read it: {error}", path.display())]
    Unreadable {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Cli {
    /// Checks what can be known without the driver: that the SAs to be made are possible, the files to be read are
    /// there, and the keywords exist. `own` are the keywords of the INF.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, own: &[&str]) -> Result<(), WrongArguments> {
        if let Command::Run { sas, .. } | Command::Throughput { sas, .. } = &self.command {
            sas.shape().check(sas.algorithm)?;
            if sas.icv_length.is_some() && !sas.algorithm.encryption.is_gcm() {
                return Err(WrongArguments::IcvLength(sas.algorithm));
            }
        }
        for (option, path) in self.command.files() {
            if let Err(error) = readable(path) {
                return Err(WrongArguments::Unreadable {
                    option,
                    path: path.to_owned(),
                    error,
                });
            }
        }
        let names = self.machine.keywords.iter().map(|(name, _)| name.as_str());
        Ok(keywords::check(names, own)?)
    }
}

impl Command {
    /// The files that it reads, with the options that name them.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::Run { input, .. } => vec![("--input", input)],
            Self::Send { sas, input, .. } | Self::Receive { sas, input, .. } => {
                vec![("--sas", sas), ("--input", input)]
            }
            Self::Throughput { .. } => vec![],
        }
    }
}

/// A folder can be opened, but not read.
fn readable(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

impl MachineArguments {
    /// The keywords to set, forced ones included.
    pub fn all_keywords(&self) -> Vec<(String, String)> {
        [&self.keywords[..], &self.forced_keywords].concat()
    }
}

impl SaArguments {
    /// Headers and modes.
    pub fn shape(&self) -> Shape {
        Shape {
            mode: self.mode,
            protocol: self.protocol,
            ah: self.ah_algorithm,
            udp_esp: self.udp_esp,
            outer: self.outer,
        }
    }
}

/// A keyword and its value.
fn keyword(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("NAME=VALUE is wanted")?;
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

#[cfg(test)]
mod tests;
