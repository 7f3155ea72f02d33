//! What the simulator found: the bug check that stopped the machine, and the
//! findings (leaks) that did not.

mod rule;
pub mod rules;
mod stack;
mod trail;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

pub(crate) use rule::rules;
pub use rule::{Rule, RuleSet};
pub use stack::{CallStack, Frame, StackLine};
pub(crate) use trail::Trail;
pub use trail::{Direction, Step};

use crate::{
    driver::Images,
    history::{Object, ObjectHistory},
    irql::Irql,
    machine::Machine,
    processor,
};

/// A violation that stopped a machine, in the manner of a Windows bug check.
#[derive(Clone)]
pub struct BugCheck(Arc<Details>);

struct Details {
    rule: Rule,
    message: String,
    context: Option<Context>,
    /// The call stack of `context`, with names.
    calls: Vec<StackLine>,
    histories: Vec<ObjectHistory>,
}

/// Where the processor was when the machine stopped.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) processor: u32,
    pub(crate) irql: Irql,
    pub(crate) stack: CallStack,
    pub(crate) trail: Vec<Step>,
}

impl BugCheck {
    pub(crate) fn new(
        rule: Rule,
        message: String,
        context: Option<Context>,
        images: Option<&Images>,
        histories: Vec<ObjectHistory>,
    ) -> Self {
        let calls = match (&context, images) {
            (Some(context), Some(images)) => context.stack.resolve(images),
            _ => Vec::new(),
        };
        Self(Arc::new(Details {
            rule,
            message,
            context,
            calls,
            histories,
        }))
    }

    /// The same calls, as addresses.
    #[must_use]
    pub fn raw_call_stack(&self) -> &[Frame] {
        self.0.context.as_ref().map_or(&[], |c| c.stack.frames())
    }

    /// What happened before to the objects that it is about.
    #[must_use]
    pub fn histories(&self) -> &[ObjectHistory] {
        &self.0.histories
    }

    /// The calls in progress on that processor, innermost first: imports, the driver's functions
    /// (by name where its PDB lies beside the `.sys`), callbacks.
    #[must_use]
    pub fn call_stack(&self) -> &[StackLine] {
        &self.0.calls
    }

    /// The rule that was broken.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.0.rule
    }

    /// What exactly happened.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The processor on which it happened, if it happened on one.
    #[must_use]
    pub fn processor(&self) -> Option<u32> {
        self.0.context.as_ref().map(|c| c.processor)
    }

    /// The IRQL of that processor.
    #[must_use]
    pub fn irql(&self) -> Option<Irql> {
        self.0.context.as_ref().map(|c| c.irql)
    }

    /// The last transitions into and out of the driver on that processor,
    /// oldest first.
    #[must_use]
    pub fn trail(&self) -> &[Step] {
        self.0.context.as_ref().map_or(&[], |c| &c.trail)
    }
}

impl fmt::Display for BugCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            rule,
            message,
            context,
            calls,
            histories,
        } = &*self.0;
        writeln!(f, "*** STOP: {rule}")?;
        writeln!(f, "    {message}")?;
        writeln!(f, "    Rule: {}", rule.text)?;
        if !rule.also.is_empty() {
            writeln!(f, "    Also: {}", rule.also.join(", "))?;
        }
        if let Some(page) = rule.url() {
            writeln!(f, "    Page: {page}")?;
        }
        for history in histories {
            write!(f, "    {history}")?;
        }
        let Some(context) = context else {
            return Ok(());
        };
        writeln!(f, "    Processor {}, {}", context.processor, context.irql)?;
        if !calls.is_empty() {
            writeln!(f, "    Call stack, innermost first:")?;
            for call in calls {
                writeln!(f, "      {call}")?;
            }
        }
        if !context.trail.is_empty() {
            writeln!(f, "    Last transitions, oldest first:")?;
            for step in &context.trail {
                writeln!(f, "      {step}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for BugCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for BugCheck {}

/// A fault that does not stop the machine, such as a leak seen at unload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that was broken.
    pub rule: Rule,
    /// What exactly was found.
    pub message: String,
    /// What happened to the objects that it is about, or to some of them.
    pub histories: Vec<ObjectHistory>,
}

impl Finding {
    /// A finding without histories.
    #[must_use]
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
            histories: Vec::new(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.message)?;
        self.histories
            .iter()
            .try_for_each(|history| write!(f, "\n    {}", history.to_string().trim_end()))
    }
}

/// Everything found on a machine so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The violation that stopped the machine, if one did.
    pub bug_check: Option<BugCheck>,
    /// Non-fatal findings, in order.
    pub findings: Vec<Finding>,
    /// Deepest use of a kernel stack by driver code, in bytes, and the callback
    /// that was running.
    pub stack_high_water: Option<(usize, &'static str)>,
    /// Longest processor time of a DPC or of a call at DISPATCH_LEVEL, and which it was.
    pub longest_at_dispatch: Option<(Duration, &'static str)>,
}

impl Report {
    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.bug_check.is_none() && self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(check) = &self.bug_check {
            write!(f, "{check}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.is_clean() {
            writeln!(f, "no violation")?;
        }
        Ok(())
    }
}

/// A machine's collected report.
#[derive(Default)]
pub(crate) struct Reporter(pub(crate) Mutex<Report>);

/// Stops the current machine for a broken rule.
///
/// On a processor thread this never returns: the thread is parked for good
/// because driver frames cannot be unwound, and every [`Machine::run`] returns
/// the bug check. Raise it with no lock held that another processor or the
/// owner of the machine may want.
///
/// # Panics
/// Outside of a processor thread, with the bug check as message.
pub fn violation(rule: Rule, message: impl Into<String>) -> ! {
    let Some(cpu) = processor::try_current() else {
        panic!(
            "{}",
            BugCheck::new(rule, message.into(), None, None, Vec::new())
        );
    };
    cpu.machine().stop(rule, message);
    processor::park_forever()
}

/// Like [`violation`], with the histories of the objects that it is about.
pub(crate) fn violation_about(rule: Rule, message: impl Into<String>, objects: &[Object]) -> ! {
    let Some(cpu) = processor::try_current() else {
        violation(rule, message);
    };
    cpu.machine().stop_about(rule, message, objects);
    processor::park_forever()
}

/// Like [`violation`] for checks that may run on any thread: stops `machine`
/// and parks the thread only if it is one of its processors.
pub fn violation_on(machine: &Machine, rule: Rule, message: impl Into<String>) -> BugCheck {
    violation_on_about(machine, rule, message, &[])
}

/// Like [`violation_on`], with the histories of the objects that it is about.
pub(crate) fn violation_on_about(
    machine: &Machine,
    rule: Rule,
    message: impl Into<String>,
    objects: &[Object],
) -> BugCheck {
    let check = machine.stop_about(rule, message, objects);
    if processor::try_current().is_some() {
        processor::park_forever();
    }
    check
}
