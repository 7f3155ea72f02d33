//! What a function calls, from its machine code.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::image::{Image, Rva};

/// Everything that a function may call or jump to, itself excepted.
#[derive(Debug, Default)]
pub struct Calls {
    /// Functions of the image.
    pub functions: BTreeSet<Rva>,
    /// Functions of others, by name.
    pub imports: BTreeSet<String>,
    /// Variables that hold pointers to functions of others.
    pub variables: BTreeSet<Rva>,
    /// Methods of trait objects, by their place in the table.
    pub methods: BTreeSet<usize>,
    /// Calls through a pointer of which nothing is known.
    pub unknown: BTreeSet<Rva>,
}

/// How far back the origin of a register is looked for.
const HISTORY: usize = 64;

/// The longest function without unwind information that is followed.
const THIN: Rva = 4096;

/// Decodes a function. One that is not in `image.functions` ends where its code does.
pub fn of(image: &Image, function: Rva) -> Calls {
    let mut calls = Calls::default();
    match image.functions.get(&function) {
        Some(known) => {
            for (start, end) in &known.pieces {
                decode(image, function, *start, *end, false, &mut calls);
            }
        }
        None => decode(image, function, function, function + THIN, true, &mut calls),
    }
    calls.functions.remove(&function);
    calls
}

fn decode(image: &Image, function: Rva, start: Rva, end: Rva, thin: bool, calls: &mut Calls) {
    let code = image.code(start, end);
    let mut decoder = Decoder::with_ip(64, code, start.into(), DecoderOptions::NONE);
    let mut history: Vec<Instruction> = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        match instruction.flow_control() {
            FlowControl::Call => target(image, function, &instruction, calls),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                let to = instruction.near_branch_target() as Rva;
                let within = thin && image.function_at(to).is_none() && (start..end).contains(&to);
                if !within {
                    target(image, function, &instruction, calls);
                }
            }
            FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                indirect(image, &instruction, &history, calls);
            }
            _ => {}
        }
        let ends = matches!(
            instruction.flow_control(),
            FlowControl::Return
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Interrupt
        );
        if thin && ends {
            break;
        }
        history.push(instruction);
    }
}

fn target(image: &Image, function: Rva, instruction: &Instruction, calls: &mut Calls) {
    let to = instruction.near_branch_target() as Rva;
    let to = image.function_at(to).unwrap_or(to);
    if to != function {
        calls.functions.insert(to);
    }
}

fn indirect(image: &Image, instruction: &Instruction, history: &[Instruction], calls: &mut Calls) {
    let at = instruction.ip() as Rva;
    if instruction.is_ip_rel_memory_operand() {
        let pointer = instruction.ip_rel_memory_address() as Rva;
        kept(image, pointer, calls);
        return;
    }
    let origin = match instruction.op0_kind() {
        OpKind::Memory => table_place(instruction),
        _ => match origin(instruction.op0_register(), history) {
            // Added up from a table of offsets: a match, whose arms are the function's own.
            Some(from) if from.mnemonic() == Mnemonic::Add => return,
            Some(from) if matches!(from.mnemonic(), Mnemonic::Mov | Mnemonic::Xchg) => {
                if from.is_ip_rel_memory_operand() {
                    let pointer = from.ip_rel_memory_address() as Rva;
                    kept(image, pointer, calls);
                    return;
                }
                table_place(from)
            }
            _ => None,
        },
    };
    match origin {
        Some(place) => calls.methods.insert(place),
        None => calls.unknown.insert(at),
    };
}

/// A call through a pointer that is kept at an address of the image.
fn kept(image: &Image, pointer: Rva, calls: &mut Calls) {
    match image.imports.get(&pointer) {
        Some(name) => calls.imports.insert(name.clone()),
        None => calls.variables.insert(pointer),
    };
}

/// The last instruction that wrote the register.
fn origin(register: Register, history: &[Instruction]) -> Option<&Instruction> {
    let register = register.full_register();
    let writes = |it: &&Instruction| {
        if matches!(
            it.mnemonic(),
            Mnemonic::Test | Mnemonic::Cmp | Mnemonic::Bt | Mnemonic::Push
        ) {
            return false;
        }
        it.op0_kind() == OpKind::Register && it.op0_register().full_register() == register
            || it.mnemonic() == Mnemonic::Xchg && it.op1_register().full_register() == register
    };
    history.iter().rev().take(HISTORY).find(writes)
}

/// A read at a fixed distance from a pointer. What is read from the stack was put there by who knows whom.
fn table_place(instruction: &Instruction) -> Option<usize> {
    let memory = [instruction.op0_kind(), instruction.op1_kind()].contains(&OpKind::Memory);
    let plain = instruction.memory_index() == Register::None
        && !matches!(
            instruction.memory_base(),
            Register::None | Register::RSP | Register::RBP | Register::RIP
        );
    (memory && plain).then_some(instruction.memory_displacement64() as usize)
}
