//! Call stacks of the driver, from the unwind data of its image.
//!
//! The kernel stack of a thread is one for all callbacks in progress: each begins where the import
//! that led to it has left off, so the walk goes from callback to callback.

use pe_unwind_info::x86_64::{Register, UnwindState, XmmRegister};

use super::context::{Call, Context};
use crate::{driver::Images, report::Frame};

/// More frames than this do not fit on a kernel stack that is not broken.
const MOST: usize = 128;

/// Integer registers, in the order of the x64 encoding, and where they were.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) rip: usize,
    pub(super) registers: [u64; 16],
}

const RBX: usize = 3;
pub(super) const RSP: usize = 4;
const RBP: usize = 5;

fn index(register: Register) -> usize {
    match register {
        Register::RAX => 0,
        Register::RCX => 1,
        Register::RDX => 2,
        Register::RBX => RBX,
        Register::RSP => RSP,
        Register::RBP => RBP,
        Register::RSI => 6,
        Register::RDI => 7,
        Register::R8 => 8,
        Register::R9 => 9,
        Register::R10 => 10,
        Register::R11 => 11,
        Register::R12 => 12,
        Register::R13 => 13,
        Register::R14 => 14,
        Register::R15 => 15,
    }
}

/// What the unwinder may read: the registers, and the stack.
struct State<'a> {
    registers: &'a mut [u64; 16],
    context: &'a Context,
}

impl UnwindState for State<'_> {
    fn read_register(&mut self, register: Register) -> u64 {
        self.registers[index(register)]
    }

    fn read_stack(&mut self, address: u64) -> Option<u64> {
        self.context.stack_word(address as usize)
    }

    fn write_register(&mut self, register: Register, value: u64) {
        self.registers[index(register)] = value;
    }

    fn write_xmm_register(&mut self, _: XmmRegister, _: u128) {}
}

impl Context {
    /// A word of the kernel stack; `None` outside of it.
    pub(super) fn stack_word(&self, address: usize) -> Option<u64> {
        if !address.is_multiple_of(8) || !self.stack().is_usable(address) {
            return None;
        }
        // SAFETY: an aligned word of the mapped stack, which only this thread uses.
        Some(unsafe { (address as *const u64).read() })
    }

    /// Where the import whose frame is at `rsp` returns to, with the registers that it saved.
    fn caller_of_import(&self, rsp: usize) -> Option<Place> {
        let mut place = Place::default();
        place.registers[RBP] = self.stack_word(rsp)?;
        place.registers[RBX] = self.stack_word(rsp + 8)?;
        place.rip = self.stack_word(rsp + 16)? as usize;
        place.registers[RSP] = (rsp + 24) as u64;
        Some(place)
    }

    /// The calls in progress, innermost first: imports, code of drivers, callbacks.
    pub(crate) fn walk(&self, images: &Images) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut fault = self.faulted.get();
        // Where the innermost import, or one that has just ended, left the kernel stack.
        let mut rsp = self.driver_rsp();
        for call in self.calls().iter().rev() {
            match *call {
                Call::Import { name, .. } => frames.push(Frame::Import(name)),
                Call::Callback { name, outer } => {
                    if let Some(place) = fault.take() {
                        self.walk_code(images, place, true, &mut frames);
                    } else if rsp != outer
                        && let Some(place) = self.caller_of_import(rsp)
                    {
                        self.walk_code(images, place, false, &mut frames);
                    }
                    frames.push(Frame::Callback(name));
                    rsp = outer;
                }
            }
            if frames.len() >= MOST {
                break;
            }
        }
        frames
    }

    /// The frames of driver code from `place` on. `exact`: it is an instruction that is executed,
    /// not a return address.
    fn walk_code(
        &self,
        images: &Images,
        mut place: Place,
        mut exact: bool,
        frames: &mut Vec<Frame>,
    ) {
        let from = frames.len();
        while frames.len() < MOST {
            // The call, not what comes after it: that may be another function.
            let address = place.rip.wrapping_sub(usize::from(!exact));
            let Some(mut registers) = images.with_image(address, |image| {
                let mut registers = place.registers;
                let state = State {
                    registers: &mut registers,
                    context: self,
                };
                (image.unwind(address, state), registers)
            }) else {
                // A native driver: its code is the host's, which has no such data.
                if frames.len() == from && place.rip != 0 {
                    frames.push(Frame::Code(address));
                }
                return;
            };
            frames.push(Frame::Code(address));
            let before = place.registers[RSP];
            let Some(rip) = registers.0.filter(|_| registers.1[RSP] > before) else {
                return;
            };
            (place.rip, place.registers) = (rip as usize, std::mem::take(&mut registers.1));
            if images.with_image(place.rip, |_| ()).is_none() {
                return;
            }
            exact = false;
        }
    }
}
