//! DbgPrint and KeBugCheckEx.

use std::{collections::VecDeque, ffi::c_char};

use parking_lot::Mutex;

use super::format::{Arguments, format};
use crate::{
    driver,
    exports::{Export, NTOSKRNL},
    irql::Irql,
    processor,
    report::{rules, violation},
};

/// Lines kept.
const LENGTH: usize = 10_000;

/// What drivers printed.
pub struct Log {
    echo: bool,
    messages: Mutex<VecDeque<String>>,
}

impl Log {
    pub(crate) fn new(echo: bool) -> Self {
        Self {
            echo,
            messages: Mutex::default(),
        }
    }

    fn push(&self, message: String) {
        if self.echo {
            eprint!("{message}");
        }
        let mut messages = self.messages.lock();
        if messages.len() == LENGTH {
            messages.pop_front();
        }
        messages.push_back(message);
    }

    /// The messages so far, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().iter().cloned().collect()
    }
}

/// Where the variadic arguments of the call being served lie: in the driver's
/// home space and stack, after `fixed` ones.
fn variadic(fixed: usize) -> Arguments {
    Arguments::new(processor::current().thread().import_arguments(), fixed)
}

fn print(format_string: *const c_char, arguments: Arguments) -> i32 {
    // SAFETY: DbgPrint's contract: a terminated format and arguments to match.
    let text = unsafe { format(format_string, arguments) };
    processor::current().machine().kernel().log.push(text);
    0
}

// The variadic tail is read from the driver's stack: declaring it here would
// need an ABI that stable Rust cannot define.
unsafe extern "efiapi" fn dbg_print(format_string: *const c_char) -> i32 {
    print(format_string, variadic(1))
}

unsafe extern "efiapi" fn dbg_print_ex(
    _component: u32,
    _level: u32,
    format_string: *const c_char,
) -> i32 {
    print(format_string, variadic(3))
}

unsafe extern "efiapi" fn ke_bug_check_ex(
    code: u32,
    p1: usize,
    p2: usize,
    p3: usize,
    p4: usize,
) -> ! {
    let caller = driver::describe(processor::current().thread().import_caller() as *const _);
    violation(
        rules::MANUALLY_INITIATED,
        format!("bug check 0x{code:X} (0x{p1:x}, 0x{p2:x}, 0x{p3:x}, 0x{p4:x}) from {caller}"),
    )
}

unsafe extern "efiapi" fn ke_bug_check(code: u32) -> ! {
    let caller = driver::describe(processor::current().thread().import_caller() as *const _);
    violation(
        rules::MANUALLY_INITIATED,
        format!("bug check 0x{code:X} from {caller}"),
    )
}

pub(super) fn exports() -> Vec<Export> {
    // "Callers of DbgPrint must be running at IRQL <= DIRQL"; Unicode formats,
    // which need PASSIVE_LEVEL, are checked by the formatter.
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity);
    vec![
        e("DbgPrint", dbg_print as *const (), 4).at_most(Irql(14)),
        e("DbgPrintEx", dbg_print_ex as *const (), 4).at_most(Irql(14)),
        e("KeBugCheckEx", ke_bug_check_ex as *const (), 5),
        e("KeBugCheck", ke_bug_check as *const (), 1),
    ]
}
