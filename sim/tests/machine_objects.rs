//! Events and DPCs that are not what the calls say: the rule and the words of the report for each call.

mod machine_support;

use machine_support::*;
use ndis_sim::{Irql, Machine, report::rules};

const PASSIVE: Irql = Irql::PASSIVE;
const DISPATCH: Irql = Irql::DISPATCH;

#[test]
fn events() {
    // NotificationEvent and SynchronizationEvent are all there is.
    for kind in [2, u64::from(u32::MAX)] {
        let check = call_stopped(
            PASSIVE,
            "KeInitializeEvent",
            &[leaked(0), kind, 0],
            rules::INVALID_ARGUMENT,
        );
        let words = format!("KeInitializeEvent with type {kind}");
        assert!(check.message().contains(&words), "{check}");
    }
    let event = Box::leak(Box::new([0_u64; 3])).as_mut_ptr() as u64;
    // "If Wait is set to TRUE, the caller must be at IRQL <= APC_LEVEL."
    for (wait, irql, allowed) in [
        (0, DISPATCH, true),
        (1, Irql::APC, true),
        (1, DISPATCH, false),
    ] {
        let m = machine();
        call(&m, irql, "KeInitializeEvent", &[event, 0, 0]).unwrap();
        let outcome = call(&m, irql, "KeSetEvent", &[event, 0, wait]);
        if allowed {
            outcome.unwrap();
            continue;
        }
        let check = outcome.unwrap_err();
        assert_eq!(check.rule(), rules::IRQL, "{check}");
        assert!(
            check.message().contains("KeSetEvent with Wait at"),
            "{check}"
        );
    }
    for (name, args) in [
        ("KeSetEvent", 3),
        ("KeClearEvent", 1),
        ("KeResetEvent", 1),
        ("KeReadStateEvent", 1),
        ("KeWaitForSingleObject", 5),
    ] {
        let raw = Box::leak(Box::new([0_u64; 3])).as_mut_ptr() as u64;
        let check = call(&machine(), PASSIVE, name, &[raw, 0, 0, 0, 0][..args]).unwrap_err();
        assert_eq!(check.rule(), rules::OBJECT_STATE, "{check}");
        let start = format!("{name}: ");
        assert!(check.message().starts_with(&start), "{check}");
        assert!(
            check.message().contains("is not an initialized event"),
            "{check}"
        );
    }
}

#[test]
fn deferred_procedure_calls() {
    let room = || Box::leak(Box::new([0_u64; 8])).as_mut_ptr() as u64;
    for name in [
        "KeInsertQueueDpc",
        "KeRemoveQueueDpc",
        "KeSetImportanceDpc",
        "KeSetTargetProcessorDpc",
        "KeSetTargetProcessorDpcEx",
    ] {
        let args = [room(), leaked(0)];
        let check = call_stopped(DISPATCH, name, &args, rules::OBJECT_STATE);
        let start = format!("{name}: ");
        assert!(check.message().starts_with(&start), "{check}");
        assert!(
            check.message().contains("is not an initialized KDPC"),
            "{check}"
        );
    }
    // Processors 0 and 1 are all there are.
    for (number, allowed) in [
        (0_i8, true),
        (1, true),
        (2, false),
        (64, false),
        (-1, false),
    ] {
        let m = Machine::builder().processors(2).build();
        let dpc = room();
        call(&m, DISPATCH, "KeInitializeDpc", &[dpc, 0, 0]).unwrap();
        let args = [dpc, number as u8 as u64];
        let outcome = call(&m, DISPATCH, "KeSetTargetProcessorDpc", &args);
        if allowed {
            outcome.unwrap();
            continue;
        }
        let check = outcome.unwrap_err();
        assert_eq!(check.rule(), rules::INVALID_ARGUMENT, "{check}");
        let words = format!("KeSetTargetProcessorDpc for processor {number}");
        assert!(check.message().contains(&words), "{check}");
    }
    // The newer function refuses with a status: group, number, reserved.
    for (group, number, reserved, allowed) in [
        (0_u64, 1_u64, 0_u64, true),
        (0, 2, 0, false),
        (0, 64, 0, false),
        (1, 0, 0, false),
        (0, 1, 1, false),
    ] {
        let m = Machine::builder().processors(2).build();
        let dpc = room();
        call(&m, DISPATCH, "KeInitializeDpc", &[dpc, 0, 0]).unwrap();
        let target = leaked(group | number << 16 | reserved << 24);
        let status = call(&m, DISPATCH, "KeSetTargetProcessorDpcEx", &[dpc, target]).unwrap();
        let expected = if allowed { 0 } else { 0xC000_000D };
        assert_eq!(status as u32, expected, "{group} {number} {reserved}");
    }
}
