//! Stand-in for the WDK's `BufferOverflowFastFailK.lib`, which wdk-sys links into every driver: the stack
//! cookie and its check. Nothing that this build compiles is instrumented (/GS is MSVC's), so neither is
//! used unless somebody links C objects that are.

#![no_std]
#![allow(non_upper_case_globals)]

/// The value that Windows recognises in the load configuration and replaces by a random one.
#[unsafe(no_mangle)]
pub static mut __security_cookie: usize = 0x0000_2B99_2DDF_A232;

/// Stops the machine if the cookie of a stack frame was overwritten.
///
/// # Safety
/// Called by compiler-generated code only.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn __security_check_cookie(cookie: usize) {
    // SAFETY: the cookie is set before the driver runs and only read afterwards.
    if cookie != unsafe { __security_cookie } {
        stack_cookie_failure()
    }
}

/// `__fastfail(FAST_FAIL_STACK_COOKIE_CHECK_FAILURE)`.
fn stack_cookie_failure() -> ! {
    // SAFETY: does not return; the arguments are those of the documented intrinsic.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("int 0x29", in("ecx") 2, options(noreturn));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("brk #0xf003", in("w0") 2, options(noreturn));
    }
}
