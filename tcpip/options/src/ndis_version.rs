//! Versions of NDIS.

use std::{fmt, str::FromStr};

/// The NDIS version that the driver is told to register with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NdisVersion {
    /// 6.1, the driver's default.
    #[default]
    V6_1,
    /// 6.20.
    V6_20,
    /// 6.30, which adds SAs with ADD_SA_EX.
    V6_30,
}

impl NdisVersion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_20, Self::V6_30];

    /// The registry value `NdisVersion` of the driver's INF.
    pub fn registry_value(self) -> u32 {
        match self {
            Self::V6_1 => 610,
            Self::V6_20 => 620,
            Self::V6_30 => 630,
        }
    }
}

impl fmt::Display for NdisVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_20 => "6.20",
            Self::V6_30 => "6.30",
        })
    }
}

impl FromStr for NdisVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "6.1" | "6.10" => Ok(Self::V6_1),
            "6.2" | "6.20" => Ok(Self::V6_20),
            "6.3" | "6.30" => Ok(Self::V6_30),
            _ => Err(format!("{text:?} is not 6.1, 6.20 or 6.30")),
        }
    }
}
