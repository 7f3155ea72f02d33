//! The two crossings, in machine code.

use std::{
    arch::naked_asm,
    cell::{Cell, UnsafeCell},
    mem::offset_of,
};

use super::{
    stack::STACK_SIZE,
    thunk::{self, Import},
};

/// What the machine code reads and writes. One per thread; its address is at
/// the base of the thread's kernel stack, where any stack pointer finds it.
#[repr(C)]
pub(super) struct AsmState {
    /// Host stack pointer of the innermost gate.
    pub(super) host_rsp: Cell<usize>,
    /// Driver stack pointer at the innermost import (or the top of the stack).
    pub(super) driver_rsp: Cell<usize>,
    /// Components of extended state that are under the canary check now.
    pub(super) watched: Cell<u64>,
    /// Where XSAVE puts the driver's state.
    pub(super) area: *mut u8,
    /// The canaries, in XSAVE's standard form.
    pub(super) image: *const u8,
    /// Non-zero when the CPU has AVX.
    pub(super) has_avx: u64,
    /// rax of the callback that returned.
    pub(super) result: Cell<u64>,
    /// Non-volatile registers as the callback left them.
    pub(super) registers: UnsafeCell<Registers>,
}

/// Non-volatile registers of the x64 convention.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Registers {
    pub(super) general: [u64; 8],
    pub(super) flags: u64,
    pub(super) mxcsr: u64,
    pub(super) xmm: [[u64; 2]; 10],
}

/// Names of `Registers::general`.
pub(super) const GENERAL: [&str; 8] = ["rbx", "rbp", "rdi", "rsi", "r12", "r13", "r14", "r15"];

const fn pattern(i: u64) -> u64 {
    0x9E37_79B9_7F4A_7C15u64.wrapping_mul(i + 1) ^ 0x0123_4567_89AB_CDEF
}

/// What the non-volatile registers hold when a callback starts.
pub(super) static EXPECTED: Registers = Registers {
    general: [
        pattern(0),
        pattern(1),
        pattern(2),
        pattern(3),
        pattern(4),
        pattern(5),
        pattern(6),
        pattern(7),
    ],
    flags: 0,
    mxcsr: 0,
    xmm: [
        [pattern(16), pattern(17)],
        [pattern(18), pattern(19)],
        [pattern(20), pattern(21)],
        [pattern(22), pattern(23)],
        [pattern(24), pattern(25)],
        [pattern(26), pattern(27)],
        [pattern(28), pattern(29)],
        [pattern(30), pattern(31)],
        [pattern(32), pattern(33)],
        [pattern(34), pattern(35)],
    ],
};

const REGISTERS: usize = offset_of!(AsmState, registers);
const XMM: usize = offset_of!(Registers, xmm);

/// Calls `f` on the kernel stack with `count` (at least 4) arguments.
///
/// # Safety
/// As for [`super::call`]; `state` is the calling thread's.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(
    state: *const AsmState,
    f: *const (),
    args: *const u64,
    count: usize,
) -> u64 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push qword ptr [rdi + {host}]",
        "push qword ptr [rdi + {driver}]",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "mov [rdi + {host}], rsp",
        // Arguments, home space included, on the kernel stack.
        "mov r8, [rdi + {driver}]",
        "and r8, -16",
        "lea r9, [rcx * 8 + 8]",
        "and r9, -16",
        "sub r8, r9",
        "mov r10d, 4",
        "2: cmp r10, rcx",
        "jae 3f",
        "mov r11, [rdx + r10 * 8]",
        "mov [r8 + r10 * 8], r11",
        "inc r10",
        "jmp 2b",
        "3: mov rsp, r8",
        "mov r10, rdx",
        "mov r11, rsi",
        // Canaries: xmm6 to xmm15 first, because legacy SSE code is slow while
        // the upper halves are in use; then extended state, then the rest.
        "lea r9, [rip + {expected}]",
        "movups xmm6, [r9 + {xmm}]",
        "movups xmm7, [r9 + {xmm} + 16]",
        "movups xmm8, [r9 + {xmm} + 32]",
        "movups xmm9, [r9 + {xmm} + 48]",
        "movups xmm10, [r9 + {xmm} + 64]",
        "movups xmm11, [r9 + {xmm} + 80]",
        "movups xmm12, [r9 + {xmm} + 96]",
        "movups xmm13, [r9 + {xmm} + 112]",
        "movups xmm14, [r9 + {xmm} + 128]",
        "movups xmm15, [r9 + {xmm} + 144]",
        "mov rax, [rdi + {watched}]",
        "test rax, rax",
        "jz 4f",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov r8, [rdi + {image}]",
        "xrstor64 [r8]",
        "4: mov rbx, [r9]",
        "mov rbp, [r9 + 8]",
        "mov rdi, [r9 + 16]",
        "mov rsi, [r9 + 24]",
        "mov r12, [r9 + 32]",
        "mov r13, [r9 + 40]",
        "mov r14, [r9 + 48]",
        "mov r15, [r9 + 56]",
        "mov rcx, [r10]",
        "mov rdx, [r10 + 8]",
        "mov r8, [r10 + 16]",
        "mov r9, [r10 + 24]",
        "call r11",
        // What came back.
        "mov rcx, rsp",
        "and rcx, -{stack}",
        "mov rcx, [rcx]",
        "mov [rcx + {result}], rax",
        "mov [rcx + {regs}], rbx",
        "mov [rcx + {regs} + 8], rbp",
        "mov [rcx + {regs} + 16], rdi",
        "mov [rcx + {regs} + 24], rsi",
        "mov [rcx + {regs} + 32], r12",
        "mov [rcx + {regs} + 40], r13",
        "mov [rcx + {regs} + 48], r14",
        "mov [rcx + {regs} + 56], r15",
        "pushfq",
        "pop rdx",
        "mov [rcx + {regs} + 64], rdx",
        "stmxcsr [rcx + {regs} + 72]",
        "cld",
        "mov rax, [rcx + {watched}]",
        "test rax, rax",
        "jz 5f",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov r9, [rcx + {area}]",
        "xsave64 [r9]",
        "5: cmp qword ptr [rcx + {avx}], 0",
        "je 6f",
        "vzeroupper",
        "6: movups [rcx + {regs} + {xmm}], xmm6",
        "movups [rcx + {regs} + {xmm} + 16], xmm7",
        "movups [rcx + {regs} + {xmm} + 32], xmm8",
        "movups [rcx + {regs} + {xmm} + 48], xmm9",
        "movups [rcx + {regs} + {xmm} + 64], xmm10",
        "movups [rcx + {regs} + {xmm} + 80], xmm11",
        "movups [rcx + {regs} + {xmm} + 96], xmm12",
        "movups [rcx + {regs} + {xmm} + 112], xmm13",
        "movups [rcx + {regs} + {xmm} + 128], xmm14",
        "movups [rcx + {regs} + {xmm} + 144], xmm15",
        "mov rsp, [rcx + {host}]",
        "ldmxcsr [rsp]",
        "add rsp, 8",
        "pop qword ptr [rcx + {driver}]",
        "pop qword ptr [rcx + {host}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "mov rax, [rcx + {result}]",
        "ret",
        host = const offset_of!(AsmState, host_rsp),
        driver = const offset_of!(AsmState, driver_rsp),
        watched = const offset_of!(AsmState, watched),
        image = const offset_of!(AsmState, image),
        area = const offset_of!(AsmState, area),
        avx = const offset_of!(AsmState, has_avx),
        result = const offset_of!(AsmState, result),
        regs = const REGISTERS,
        xmm = const XMM,
        stack = const STACK_SIZE,
        expected = sym EXPECTED,
    )
}

/// Where every import arrives: rax is its [`Import`], the rest as the driver
/// called it.
///
/// # Safety
/// Reached only from the stubs of [`super::thunk`], on a kernel stack.
#[unsafe(naked)]
pub(super) unsafe extern "win64" fn import() {
    naked_asm!(
        // The arguments go to their home space, which belongs to the callee.
        "mov [rsp + 8], rcx",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], r8",
        "mov [rsp + 32], r9",
        "push rbx",
        "push rbp",
        "mov rbp, rsp",
        "mov rbx, rsp",
        "and rbx, -{stack}",
        "mov rbx, [rbx]",
        "mov [rbx + {driver}], rsp",
        "mov r10, rax",
        "mov rax, [rbx + {watched}]",
        "test rax, rax",
        "jz 2f",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov r9, [rbx + {area}]",
        "xsave64 [r9]",
        "2: cmp qword ptr [rbx + {avx}], 0",
        "je 3f",
        "vzeroupper",
        "3: mov rsp, [rbx + {host}]",
        "sub rsp, 48",
        "mov [rsp + 32], r10",
        "mov rcx, rbx",
        "mov rdx, r10",
        "lea r8, [rbp + 24]",
        "call {enter}",
        // The call itself, with its stack arguments.
        "mov r10, [rsp + 32]",
        "mov rcx, [r10 + {slots}]",
        "lea rdx, [rcx * 8 + 8]",
        "and rdx, -16",
        "sub rsp, rdx",
        "mov edx, 4",
        "4: cmp rdx, rcx",
        "jae 5f",
        "mov rax, [rbp + rdx * 8 + 24]",
        "mov [rsp + rdx * 8], rax",
        "inc rdx",
        "jmp 4b",
        "5: mov rcx, [rbp + 24]",
        "mov rdx, [rbp + 32]",
        "mov r8, [rbp + 40]",
        "mov r9, [rbp + 48]",
        "call [r10 + {handler}]",
        "mov rcx, rbx",
        "mov rdx, rax",
        "call {leave}",
        "mov r8, rax",
        "mov rax, [rbx + {watched}]",
        "test rax, rax",
        "jz 6f",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov r9, [rbx + {image}]",
        "xrstor64 [r9]",
        "6: mov rax, r8",
        "mov rsp, rbp",
        "pop rbp",
        "pop rbx",
        "ret",
        stack = const STACK_SIZE,
        driver = const offset_of!(AsmState, driver_rsp),
        host = const offset_of!(AsmState, host_rsp),
        watched = const offset_of!(AsmState, watched),
        image = const offset_of!(AsmState, image),
        area = const offset_of!(AsmState, area),
        avx = const offset_of!(AsmState, has_avx),
        slots = const offset_of!(Import, slots),
        handler = const offset_of!(Import, handler),
        enter = sym thunk::enter,
        leave = sym thunk::leave,
    )
}
