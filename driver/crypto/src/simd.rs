//! The witness of the extended-state bracket.

use core::marker::PhantomData;

/// Says that vector registers beyond legacy SSE may be used here and now.
///
/// In a Windows kernel thread on x64 the XMM registers are free to use in legacy
/// encodings, and nothing else is: any VEX or EVEX instruction, a 128-bit one
/// included, changes register halves that belong to the interrupted user thread.
/// `aes` (VAES) and `ghash` (VEX-encoded PCLMULQDQ) choose such instructions by
/// CPUID, with no switch to stop them. So whoever calls them proves first that
/// `KeSaveExtendedProcessorState` has been called, by lending this witness: it is
/// zero-sized, cannot be copied and does not leave its thread.
///
/// On ARM64 the kernel saves the vector registers itself, and the witness is
/// simply true.
#[derive(Debug)]
pub struct Simd(PhantomData<*mut ()>);

impl Simd {
    /// States that the bracket is open.
    ///
    /// # Safety
    /// Until the value is dropped, all of these hold:
    /// - On x64 in kernel mode the extended state of this processor was saved with a mask
    ///   of every component that the operating system enabled in XCR0 (AVX and AVX-512
    ///   among them), and will be restored after the value is dropped.
    /// - The code stays on this thread, and between save and restore the IRQL is not
    ///   lowered below the one at which the state was saved.
    ///
    /// In user mode the operating system keeps the registers of each thread, so that
    /// nothing has to be done.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn assume_saved() -> Self {
        Self(PhantomData)
    }
}
