//! The one privileged register that drivers use inline: CR8, the IRQL. Headers
//! for C make KeGetCurrentIrql and KeRaiseIrql of it.

use std::ffi::c_int;

use crate::{irql::Irql, ntos::irql::FLAGGED, processor::Current};

/// General registers by their number in an instruction.
const REGISTERS: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// REX with R set (the control register is 8 to 15), and perhaps B.
const REX_R: u8 = 0x44;
const REX_RB: u8 = 0x45;
const LENGTH: i64 = 4;

/// What became of an instruction.
pub(super) enum Cr8 {
    /// It is another one.
    Other,
    /// It is executed.
    Done,
    /// It breaks a rule.
    Refused(Refusal),
}

/// A rule that an access to CR8 breaks, as the functions do that stand for it elsewhere.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// KeGetCurrentIrql in a callback whose flags tell.
    Asked,
    /// KeLowerIrql to that level with a spin lock held.
    Lowered(Irql, usize),
}

/// Executes `mov r64, cr8` or `mov cr8, r64` if that is what `code` holds.
///
/// Runs in a signal handler, on top of the driver's code: nothing of the thread is borrowed. DPCs that a
/// lowered IRQL lets through run at the driver's next transition.
pub(super) fn cr8(cpu: &Current, code: [u8; 4], registers: &mut [i64; 23]) -> Cr8 {
    let [
        rex @ (REX_R | REX_RB),
        0x0F,
        opcode @ (0x20 | 0x22),
        modrm @ 0xC0..=0xC7,
    ] = code
    else {
        return Cr8::Other;
    };
    let number = usize::from(modrm & 7) + if rex == REX_RB { 8 } else { 0 };
    let register = &mut registers[REGISTERS[number] as usize];
    let thread = cpu.thread();
    let level = &thread.irql;
    if opcode == 0x20 {
        if FLAGGED.contains(&thread.callback()) {
            return Cr8::Refused(Refusal::Asked);
        }
        *register = i64::from(level.get().0);
    } else {
        let Ok(new @ 0..=15) = u8::try_from(*register) else {
            return Cr8::Other;
        };
        let new = Irql(new);
        let held = thread.locks.try_borrow().ok();
        let lock = held.and_then(|locks| locks.last().map(|lock| lock.address));
        if let Some(lock) = lock.filter(|_| new < Irql::DISPATCH) {
            return Cr8::Refused(Refusal::Lowered(new, lock));
        }
        level.set(new);
    }
    registers[libc::REG_RIP as usize] += LENGTH;
    Cr8::Done
}
