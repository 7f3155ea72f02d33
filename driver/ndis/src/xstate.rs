//! The extended processor state bracket.
//!
//! Kernel code on x64 shares YMM, ZMM and mask registers with the user thread that it interrupted.
//! Any VEX- or EVEX-encoded instruction changes them, so it may execute only between
//! KeSaveExtendedProcessorState and KeRestoreExtendedProcessorState (page of the former: "Kernel-mode
//! code must save the state of an extended processor feature before it uses that feature"). XMM
//! registers with legacy SSE encodings belong to the kernel's ordinary context and need no bracket.
//!
//! On ARM64 there is nothing to save: the kernel preserves the FP/SIMD registers (V0 to V31) on
//! behalf of kernel code as it does the general registers ("Overview of ARM64 ABI conventions":
//! floating-point and NEON support is always present, kernel mode included), the two routines do not
//! exist there, and the driver uses no state beyond them (no SVE).

use core::marker::PhantomData;

use crate::irql::{Dispatch, Passive};

/// The saving of the state failed: STATUS_INSUFFICIENT_RESOURCES. Nothing was saved, and no code
/// that needs the bracket may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveFailed;

/// The bracket, open: lent to the code that runs inside it. While it exists, code on this processor
/// may execute AVX and AVX-512 instructions.
pub struct ExtendedState<'a> {
    /// The state belongs to this processor at this level: neither Send nor longer-lived than it.
    _here: PhantomData<(&'a (), *const ())>,
}

/// The features whose state the bracket saves: those of AVX and AVX-512 that the system has enabled.
/// Does not change while the system runs.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedFeatures {
    #[cfg(target_arch = "x86_64")]
    mask: u64,
}

#[cfg(target_arch = "x86_64")]
impl ExtendedFeatures {
    /// Asks the system, which its page allows at PASSIVE_LEVEL only. The mask of a save must name no
    /// feature that is not enabled.
    #[must_use]
    pub fn enabled(_at: Passive<'_>) -> Self {
        use ndis_sys::{RtlGetEnabledExtendedFeatures, XSTATE_MASK_AVX512, XSTATE_MASK_GSSE};
        // SAFETY: PASSIVE_LEVEL by the token.
        let mask = unsafe { RtlGetEnabledExtendedFeatures(XSTATE_MASK_GSSE | XSTATE_MASK_AVX512) };
        Self { mask }
    }

    /// Runs `work` inside the bracket. Bursts do this once: it costs hundreds of cycles.
    ///
    /// The documentation allows it at IRQL <= DISPATCH_LEVEL; the token keeps the thread from being
    /// rescheduled between save and restore. It is a closure and not a guard because the kernel
    /// chains the XSTATE_SAVE into the thread: it must not move, and must be restored.
    ///
    /// # Errors
    /// [`SaveFailed`] when the kernel has no memory for the state; `work` has not run.
    pub fn with_state<R>(
        self,
        _at: Dispatch<'_>,
        work: impl FnOnce(&ExtendedState<'_>) -> R,
    ) -> Result<R, SaveFailed> {
        use ndis_sys::{
            KeRestoreExtendedProcessorState, KeSaveExtendedProcessorState, XSTATE_SAVE, Zero as _,
        };

        /// Restores on the way out, whatever the way is.
        struct Saved<'s>(&'s mut XSTATE_SAVE);
        impl Drop for Saved<'_> {
            fn drop(&mut self) {
                // SAFETY: filled by a successful save on this processor at this level, not moved
                // since.
                unsafe { KeRestoreExtendedProcessorState(self.0) }
            }
        }

        let mut area = XSTATE_SAVE::ZERO;
        let saved = if self.mask == 0 {
            // Without AVX there is no state to save, and no instruction that would change it.
            None
        } else {
            // SAFETY: the level is DISPATCH_LEVEL by the token; `area` is an XSTATE_SAVE.
            if unsafe { KeSaveExtendedProcessorState(self.mask, &raw mut area) } < 0 {
                return Err(SaveFailed);
            }
            Some(Saved(&mut area))
        };
        let result = work(&ExtendedState { _here: PhantomData });
        drop(saved);
        Ok(result)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl ExtendedFeatures {
    /// None: there is no state to save on this architecture (see the module).
    #[must_use]
    pub const fn enabled(_at: Passive<'_>) -> Self {
        Self {}
    }

    /// Runs `work`.
    ///
    /// # Errors
    /// None here.
    pub fn with_state<R>(
        self,
        _at: Dispatch<'_>,
        work: impl FnOnce(&ExtendedState<'_>) -> R,
    ) -> Result<R, SaveFailed> {
        Ok(work(&ExtendedState { _here: PhantomData }))
    }
}
