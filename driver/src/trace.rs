//! Messages for a kernel debugger. Rare events only: nothing on the data path.

/// Prints a line, prefixed with the driver's name. IRQL <= DISPATCH_LEVEL.
macro_rules! trace {
    ($($message:tt)*) => {
        wdk::println!("ipsecov2: {}", core::format_args!($($message)*))
    };
}
pub(crate) use trace;
