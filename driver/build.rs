//! Links the driver as a KMDF driver that also needs NDIS.

fn main() -> Result<(), wdk_build::ConfigError> {
    // wdk-build links ntoskrnl and the KMDF entry; ndis.lib lies beside ntoskrnl.lib.
    println!("cargo::rustc-link-lib=static:-bundle=ndis");
    wdk_build::configure_wdk_binary_build()
}
