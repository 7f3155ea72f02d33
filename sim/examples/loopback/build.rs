//! Links a driver that needs no framework: DriverEntry is the entry point, and NDIS the only other
//! module beside the kernel.

use wdk_build::{Config, DriverConfig};

fn main() -> Result<(), wdk_build::ConfigError> {
    for library in ["ndis", "ntoskrnl", "BufferOverflowFastFailK"] {
        println!("cargo::rustc-link-lib=static:-bundle={library}");
    }
    let mut config = Config::new();
    config.driver_config = DriverConfig::Wdm;
    config.configure_binary_build()
}
