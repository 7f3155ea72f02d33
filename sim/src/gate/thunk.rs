//! Imports: a stub of machine code for each, which leads to the common path.

use std::{collections::HashMap, ptr};

use parking_lot::Mutex;

use super::{asm, context::Context};
use crate::{
    exports::Export,
    processor,
    report::{Direction, violation},
};

/// What a stub passes to the common path.
#[repr(C)]
pub(crate) struct Import {
    pub(super) handler: *const (),
    /// Words of arguments to forward, home space included.
    pub(super) slots: u64,
    pub(super) export: Export,
}

/// A machine's stubs. Mapped twice, so that no page is ever writable and
/// executable at once.
pub(crate) struct Thunks {
    writable: *mut u8,
    executable: *mut u8,
    bound: Mutex<HashMap<(&'static str, &'static str), *const ()>>,
    imports: Mutex<Vec<*mut Import>>,
}

const SIZE: usize = 256 * 1024;
const STUB: usize = 32;

// SAFETY: the pointers are to mappings and boxes that the object owns; the
// mappings are written under the lock, each stub before its address is known.
unsafe impl Send for Thunks {}
// SAFETY: as above.
unsafe impl Sync for Thunks {}

impl Thunks {
    pub(crate) fn new() -> Self {
        let map = |fd, protection| {
            // SAFETY: a new mapping of a file that is as large.
            let p =
                unsafe { libc::mmap(ptr::null_mut(), SIZE, protection, libc::MAP_SHARED, fd, 0) };
            assert!(p != libc::MAP_FAILED, "no memory for import stubs");
            p.cast::<u8>()
        };
        // SAFETY: plain system calls; the mappings keep the file alive.
        let (writable, executable) = unsafe {
            let fd = libc::memfd_create(c"thunks".as_ptr(), libc::MFD_CLOEXEC);
            assert!(
                fd >= 0 && libc::ftruncate(fd, SIZE as libc::off_t) == 0,
                "no memory for import stubs"
            );
            let maps = (
                map(fd, libc::PROT_READ | libc::PROT_WRITE),
                map(fd, libc::PROT_READ | libc::PROT_EXEC),
            );
            libc::close(fd);
            maps
        };
        Self {
            writable,
            executable,
            bound: Mutex::default(),
            imports: Mutex::default(),
        }
    }

    /// The stub for `export`, made at its first use.
    pub(crate) fn get(&self, export: &Export) -> *const () {
        let mut bound = self.bound.lock();
        *bound.entry((export.dll, export.name)).or_insert_with(|| {
            let import = Box::into_raw(Box::new(Import {
                handler: export.f,
                slots: u64::from(export.arity.max(4)),
                export: *export,
            }));
            let mut imports = self.imports.lock();
            let at = imports.len() * STUB;
            assert!(at + STUB <= SIZE, "too many imports");
            imports.push(import);
            let mut code = [0xCC; STUB];
            code[..2].copy_from_slice(&[0x48, 0xB8]); // mov rax, imm64
            code[2..10].copy_from_slice(&(import as u64).to_le_bytes());
            code[10..16].copy_from_slice(&[0xFF, 0x25, 0, 0, 0, 0]); // jmp [rip]
            code[16..24].copy_from_slice(&(asm::import as *const () as u64).to_le_bytes());
            // SAFETY: a slot within the mapping that is not in use yet.
            unsafe {
                ptr::copy_nonoverlapping(code.as_ptr(), self.writable.add(at), STUB);
                self.executable.add(at).cast::<()>().cast_const()
            }
        })
    }
}

impl Drop for Thunks {
    fn drop(&mut self) {
        // SAFETY: no driver of the machine is left that could call a stub.
        unsafe {
            libc::munmap(self.writable.cast(), SIZE);
            libc::munmap(self.executable.cast(), SIZE);
            for import in self.imports.get_mut().drain(..) {
                drop(Box::from_raw(import));
            }
        }
    }
}

/// First half of an import, on the host stack: the checks.
pub(super) unsafe extern "win64" fn enter(
    context: *const Context,
    import: *const Import,
    args: *const u64,
) {
    // SAFETY: the common path passes the running thread's context, the import
    // of the stub and the home space of the call.
    let (context, export, [first, second]) =
        unsafe { (&*context, &(*import).export, [*args, *args.add(1)]) };
    let cpu = processor::current();
    if let Some(schedule) = context.schedule() {
        schedule.cross(&cpu);
    }
    if cpu.machine().is_stopped() {
        processor::park_forever();
    }
    context.step(Direction::Import, export.name, first);
    let has = |count| export.arity >= count;
    let operands = [
        if has(1) { first } else { 0 },
        if has(2) { second } else { 0 },
    ];
    context.enter_import(export.name, operands);
    context.check_canaries(|| format!("before its call of {}", export.name));
    if !export.irql.contains(cpu.irql()) {
        let (name, irql, range) = (export.name, cpu.irql(), export.irql);
        violation(
            export.irql_rule,
            format!("{name} was called at {irql}; its page says IRQL {range}"),
        );
    }
}

/// Second half of an import: what is due before the driver goes on.
pub(super) unsafe extern "win64" fn leave(context: *const Context, result: u64) -> u64 {
    // SAFETY: as for `enter`.
    let context = unsafe { &*context };
    let cpu = processor::current();
    let name = context.leave_import();
    if cpu.machine().is_stopped() {
        processor::park_forever();
    }
    context.step(Direction::Return, name, result);
    match context.schedule() {
        Some(schedule) => {
            if !schedule.delays_dpcs() {
                cpu.deliver_dpcs();
            }
            schedule.cross(&cpu);
        }
        None => cpu.deliver_dpcs(),
    }
    result
}
