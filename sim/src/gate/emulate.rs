//! The one privileged register that drivers use inline: CR8, the IRQL. Headers
//! for C make KeGetCurrentIrql and KeRaiseIrql of it.

use std::ffi::c_int;

use crate::{irql::Irql, processor::Current};

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

/// Executes `mov r64, cr8` or `mov cr8, r64` if that is what `code` holds.
///
/// Runs in a signal handler. DPCs that a lowered IRQL lets through run at the
/// driver's next transition.
pub(super) fn cr8(cpu: &Current, code: [u8; 4], registers: &mut [i64; 23]) -> bool {
    let [
        rex @ (REX_R | REX_RB),
        0x0F,
        opcode @ (0x20 | 0x22),
        modrm @ 0xC0..=0xC7,
    ] = code
    else {
        return false;
    };
    let number = usize::from(modrm & 7) + if rex == REX_RB { 8 } else { 0 };
    let register = &mut registers[REGISTERS[number] as usize];
    let level = &cpu.thread().irql;
    if opcode == 0x20 {
        *register = i64::from(level.get().0);
    } else {
        match u8::try_from(*register) {
            Ok(new @ 0..=15) => level.set(Irql(new)),
            _ => return false,
        }
    }
    registers[libc::REG_RIP as usize] += LENGTH;
    true
}
