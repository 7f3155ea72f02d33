//! Faults of driver code: signals become bug checks of the machine.

use std::{
    ffi::{c_int, c_void},
    mem::{self, MaybeUninit},
    ptr,
    sync::OnceLock,
};

use super::{
    emulate::{self, Cr8, Refusal},
    unwind::Place,
};
use crate::{
    processor,
    report::{rules, violation, violation_about},
};

const SIGNALS: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];
const DIRECTION_FLAG: i64 = 1 << 10;
/// Left free below an interrupted stack pointer (its red zone and more).
const CLEARANCE: usize = 1024;

/// What a signal told.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    signal: c_int,
    code: c_int,
    address: usize,
    rip: usize,
    rsp: usize,
    write: bool,
    /// Integer registers, in the order of the x64 encoding.
    registers: [u64; 16],
    /// The instruction could have been executed, and breaks a rule.
    refused: Option<Refusal>,
}

/// The registers of a signal's context, in the order of the x64 encoding.
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
const RCX: usize = 1;

/// An alternate signal stack of the current thread: the kernel stack may be
/// what overflowed.
pub(super) struct SignalStack(*mut c_void);

const SIGNAL_STACK: usize = 64 * 1024;

impl SignalStack {
    pub(super) fn install() -> Self {
        // SAFETY: a fresh mapping becomes the thread's signal stack.
        unsafe {
            let p = libc::mmap(
                ptr::null_mut(),
                SIGNAL_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(p != libc::MAP_FAILED, "no memory for a signal stack");
            let stack = libc::stack_t {
                ss_sp: p,
                ss_flags: 0,
                ss_size: SIGNAL_STACK,
            };
            assert_eq!(libc::sigaltstack(&raw const stack, ptr::null_mut()), 0);
            Self(p)
        }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let off = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        // SAFETY: the thread is not on its signal stack; after the first call
        // nothing refers to the mapping.
        unsafe {
            libc::sigaltstack(&raw const off, ptr::null_mut());
            libc::munmap(self.0, SIGNAL_STACK);
        }
    }
}

static PREVIOUS: OnceLock<Vec<(c_int, libc::sigaction)>> = OnceLock::new();

/// Installs the handler once per process. Signals that are not a driver's go
/// where they went before.
pub(crate) fn install() {
    PREVIOUS.get_or_init(|| {
        SIGNALS
            .iter()
            .map(|&signal| {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
                // SAFETY: sigaction is plain data; the handler has the SA_SIGINFO form.
                unsafe {
                    let mut action: libc::sigaction = mem::zeroed();
                    action.sa_sigaction = handler as usize;
                    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                    libc::sigemptyset(&raw mut action.sa_mask);
                    let mut old = MaybeUninit::zeroed();
                    libc::sigaction(signal, &raw const action, old.as_mut_ptr());
                    (signal, old.assume_init())
                }
            })
            .collect()
    });
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a ucontext_t with SA_SIGINFO.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: as above.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let get = |r: c_int| registers[r as usize] as usize;
    let (rip, rsp) = (get(libc::REG_RIP), get(libc::REG_RSP));
    let write = get(libc::REG_ERR) & 2 != 0;
    let general = REGISTERS.map(|r| get(r) as u64);
    let Some(cpu) = processor::try_current().filter(|c| c.thread().in_callback()) else {
        if code != libc::SI_TKILL {
            forward(signal, info, context);
        }
        return;
    };
    let thread = cpu.thread();
    let in_driver = thread.stack().contains(rsp);
    if code == libc::SI_TKILL && !in_driver {
        return; // The thread parks itself at its next transition.
    }
    let privileged = signal == libc::SIGSEGV && code == libc::SI_KERNEL && in_driver;
    let mut refused = None;
    if privileged && let Some(code) = code_at(rip) {
        match emulate::cr8(&cpu, code, registers) {
            Cr8::Done => return,
            Cr8::Refused(refusal) => refused = Some(refusal),
            Cr8::Other => {}
        }
    }
    thread.fault.set(Some(Fault {
        signal,
        code,
        address,
        rip,
        rsp,
        write,
        registers: general,
        refused,
    }));
    // Go on in `land`, on the host stack; the driver's frames stay as they are.
    let stack = if in_driver { thread.host_rsp() } else { rsp };
    registers[libc::REG_RSP as usize] = (((stack - CLEARANCE) & !15) - 8) as i64;
    registers[libc::REG_RIP as usize] = land as *const () as i64;
    registers[libc::REG_EFL as usize] &= !DIRECTION_FLAG;
}

/// The bytes of an instruction, if they can be read: asks the system, because a
/// second fault within the handler would be the process' end.
fn code_at(rip: usize) -> Option<[u8; 4]> {
    let mut code = [0; 4];
    let to = libc::iovec {
        iov_base: code.as_mut_ptr().cast(),
        iov_len: code.len(),
    };
    let from = libc::iovec {
        iov_base: rip as *mut c_void,
        iov_len: code.len(),
    };
    // SAFETY: the system checks the source; the target is our own array.
    let n =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    (n == 4).then_some(code)
}

/// Hands a signal to whoever had it before.
fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS
        .get()
        .and_then(|all| all.iter().find(|(s, _)| *s == signal));
    // SAFETY: calls the handler in the form in which it was installed, or puts
    // it back, so that the instruction faults again to the same effect.
    unsafe {
        match previous {
            Some((_, old))
                if old.sa_sigaction > libc::SIG_IGN && old.sa_flags & libc::SA_SIGINFO != 0 =>
            {
                let f: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    mem::transmute(old.sa_sigaction);
                f(signal, info, context);
            }
            Some((_, old)) => {
                libc::sigaction(signal, old, ptr::null_mut());
            }
            None => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Where a faulting thread goes on.
extern "C" fn land() -> ! {
    let cpu = processor::current();
    let thread = cpu.thread();
    let Some(fault) = thread.fault.take() else {
        processor::park_forever();
    };
    if fault.code == libc::SI_TKILL {
        processor::park_forever();
    }
    let Fault {
        signal,
        code,
        address,
        rip,
        rsp,
        write,
        registers,
        refused,
    } = fault;
    if thread.stack().contains(rsp) {
        thread.faulted.set(Some(Place { rip, registers }));
    }
    let machine = cpu.machine();
    let what = thread.what();
    let images = machine.images();
    let place = match images.describe(rip) {
        Some(place) => place,
        None if thread.stack().contains(rsp) => {
            match images.describe_caller(rsp, thread.stack().top()) {
                Some(caller) => format!("0x{rip:x}, called from {caller}"),
                None => format!("0x{rip:x}"),
            }
        }
        None => format!("0x{rip:x} in the simulator's {what}, with what the driver passed"),
    };
    match refused {
        Some(Refusal::Asked) => violation(
            rules::FLAGS_IRQL,
            format!(
                "CR8 is read in {}, whose flags tell, at {place}",
                thread.callback()
            ),
        ),
        Some(Refusal::Lowered(level, lock)) => violation(
            rules::SPIN_LOCK_HELD,
            format!("IRQL lowered to {level} with spin lock 0x{lock:x} held, at {place}"),
        ),
        None => {}
    }
    if thread.stack().is_guard(address) {
        violation(
            rules::STACK_OVERFLOW,
            format!("the kernel stack overflowed at {place}"),
        );
    }
    let general_protection = signal == libc::SIGSEGV && code == libc::SI_KERNEL;
    if general_protection && images.bytes_at(rip) == Some([0xCD, 0x29]) {
        violation(
            rules::FAST_FAIL,
            format!("fast fail with code {} at {place}", registers[RCX]),
        );
    }
    match signal {
        libc::SIGSEGV | libc::SIGBUS if !general_protection => {
            let access = match (address == rip, write) {
                (true, _) => "execution",
                (_, true) => "a write",
                (_, false) => "a read",
            };
            let text = format!("{access} of 0x{address:x} at {place}");
            match machine.fences().at(address) {
                Some(miss) => {
                    let objects: Vec<_> = miss.object.into_iter().collect();
                    violation_about(miss.rule, format!("{text}: {}", miss.text), &objects)
                }
                None => violation(rules::PAGE_FAULT, text),
            }
        }
        libc::SIGSEGV => violation(
            rules::KMODE_EXCEPTION,
            format!(
                "general protection fault (non-canonical address or privileged instruction) at {place}"
            ),
        ),
        libc::SIGILL => violation(
            rules::KMODE_EXCEPTION,
            format!("illegal instruction at {place}"),
        ),
        libc::SIGFPE => violation(
            rules::KMODE_EXCEPTION,
            format!("arithmetic exception at {place}"),
        ),
        _ => violation(rules::KMODE_EXCEPTION, format!("breakpoint at {place}")),
    }
}
