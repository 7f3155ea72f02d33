//! The gate: extended state, non-volatile registers, stack, faults.

mod machine_support;

use std::arch::naked_asm;

use machine_support::*;
use ndis_sim::{
    Irql, Machine,
    gate::{XSTATE_AVX, XSTATE_AVX512, enabled_features},
    report::rules,
};

extern "efiapi" fn add(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> u64 {
    a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f
}

#[test]
fn arguments_and_result_pass_the_gate() {
    let m = machine();
    assert_eq!(
        drive(&m, Irql::PASSIVE, add as *const (), &[1, 2, 3, 4, 5, 6]).unwrap(),
        91
    );
    assert!(m.report().is_clean());
}

#[test]
fn imports_return_and_run_at_the_callers_irql() {
    let m = machine();
    for irql in [Irql::PASSIVE, Irql::APC, Irql::DISPATCH] {
        extern "efiapi" fn f(get_irql: F0) -> u64 {
            get_irql()
        }
        let args = imports(&m, ["KeGetCurrentIrql"]);
        assert_eq!(
            drive(&m, irql, f as *const (), &args).unwrap(),
            u64::from(irql.0)
        );
    }
}

#[unsafe(naked)]
extern "efiapi" fn dirty_ymm() {
    naked_asm!("vpcmpeqd ymm3, ymm3, ymm3", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn zero_upper() {
    naked_asm!("vzeroupper", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn dirty_zmm() {
    naked_asm!("vpternlogd zmm17, zmm17, zmm17, 255", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn dirty_zmm_high() {
    naked_asm!(
        "vpord zmm0, zmm0, zmm0",
        "vpternlogd zmm0, zmm0, zmm0, 255",
        "ret"
    )
}

#[unsafe(naked)]
extern "efiapi" fn dirty_opmask() {
    naked_asm!("kxnorw k1, k1, k1", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn legacy_sse() {
    naked_asm!(
        "pcmpeqd xmm0, xmm0",
        "pcmpeqd xmm5, xmm5",
        "aesenc xmm1, xmm2",
        "ret"
    )
}

#[test]
fn vector_code_outside_of_a_bracket_is_seen() {
    let mut cases: Vec<(*const (), &str)> = Vec::new();
    if enabled_features() & XSTATE_AVX != 0 {
        cases.push((dirty_ymm as *const (), "upper half of ymm3"));
        cases.push((zero_upper as *const (), "upper half of ymm0"));
    }
    if enabled_features() & XSTATE_AVX512 == XSTATE_AVX512 {
        cases.push((dirty_zmm as *const (), "zmm17"));
        cases.push((dirty_opmask as *const (), "k1"));
        cases.push((dirty_zmm_high as *const (), "upper half of ymm0"));
    }
    for (f, register) in cases {
        let check = stopped(&machine(), Irql::DISPATCH, f, &[], rules::EXTENDED_STATE);
        assert!(check.message().contains(register), "{check}");
    }
}

#[test]
fn legacy_sse_is_the_drivers() {
    drive(&machine(), Irql::DISPATCH, legacy_sse as *const (), &[]).unwrap();
}

#[test]
fn canaries_can_be_turned_off() {
    let m = Machine::builder().canaries(false).build();
    if enabled_features() & XSTATE_AVX != 0 {
        drive(&m, Irql::DISPATCH, dirty_ymm as *const (), &[]).unwrap();
    }
}

#[test]
fn the_violation_is_located_between_two_calls() {
    extern "efiapi" fn f(get_irql: F0, dirty: F0) -> u64 {
        get_irql();
        dirty();
        get_irql();
        get_irql()
    }
    if enabled_features() & XSTATE_AVX == 0 {
        return;
    }
    let m = machine();
    let args = [
        import(&m, "KeGetCurrentIrql"),
        dirty_ymm as *const () as u64,
    ];
    let check = stopped(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &args,
        rules::EXTENDED_STATE,
    );
    assert!(
        check
            .message()
            .contains("before its call of KeGetCurrentIrql"),
        "{check}"
    );
    let text = check.to_string();
    for part in [
        "*** STOP: ExtendedProcessorState",
        "Page: ",
        "Processor 0, PASSIVE_LEVEL",
        "TestCallback (callback)",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Callback, first import there and back, and the import that found it.
    assert_eq!(check.trail().len(), 4, "{check}");
}

#[test]
fn a_bracket_allows_vector_code_and_restores() {
    extern "efiapi" fn f(save: F2, restore: F1, get_irql: F0, mask: u64, dirty: F0) -> u64 {
        let mut area = [0u64; 7];
        for _ in 0..2 {
            assert_eq!(save(mask, area.as_mut_ptr() as u64), 0);
            dirty();
            get_irql();
            dirty();
            restore(area.as_mut_ptr() as u64);
            get_irql();
        }
        0
    }
    if enabled_features() & XSTATE_AVX == 0 {
        return;
    }
    let m = machine();
    let [save, restore, irql] = imports(
        &m,
        [
            "KeSaveExtendedProcessorState",
            "KeRestoreExtendedProcessorState",
            "KeGetCurrentIrql",
        ],
    );
    // VEX code zeroes the rest of the ZMM register: its state is used as well.
    let all = enabled_features() & (XSTATE_AVX | XSTATE_AVX512);
    for irql_of_call in [Irql::PASSIVE, Irql::DISPATCH] {
        let args = [save, restore, irql, all, dirty_ymm as *const () as u64];
        drive(&m, irql_of_call, f as *const (), &args).unwrap();
    }
}

#[test]
fn a_bracket_covers_only_its_mask() {
    extern "efiapi" fn f(save: F2, restore: F1, mask: u64, dirty: F0) -> u64 {
        let mut area = [0u64; 7];
        save(mask, area.as_mut_ptr() as u64);
        dirty();
        restore(area.as_mut_ptr() as u64)
    }
    if enabled_features() & XSTATE_AVX512 != XSTATE_AVX512 {
        return;
    }
    for (dirty, mask) in [
        (dirty_zmm as *const (), XSTATE_AVX),
        (dirty_ymm as *const (), XSTATE_AVX512),
    ] {
        let m = machine();
        let [save, restore] = imports(
            &m,
            [
                "KeSaveExtendedProcessorState",
                "KeRestoreExtendedProcessorState",
            ],
        );
        let args = [save, restore, mask, dirty as u64];
        stopped(
            &m,
            Irql::DISPATCH,
            f as *const (),
            &args,
            rules::EXTENDED_STATE,
        );
    }
}

#[test]
fn brackets_must_balance() {
    extern "efiapi" fn open(save: F2) -> u64 {
        // Leaked, so that the address stays good.
        save(0, Box::leak(Box::new([0u64; 7])).as_mut_ptr() as u64)
    }
    extern "efiapi" fn close(restore: F1) -> u64 {
        let mut area = [0u64; 7];
        restore(area.as_mut_ptr() as u64)
    }
    extern "efiapi" fn crossed(save: F2, restore: F1) -> u64 {
        let (mut a, mut b) = ([0u64; 7], [0u64; 7]);
        save(0, a.as_mut_ptr() as u64);
        save(0, b.as_mut_ptr() as u64);
        restore(a.as_mut_ptr() as u64)
    }
    extern "efiapi" fn other_irql(save: F2, restore: F1, raise: F1) -> u64 {
        let mut a = [0u64; 7];
        save(0, a.as_mut_ptr() as u64);
        raise(2);
        restore(a.as_mut_ptr() as u64)
    }
    let names = [
        "KeSaveExtendedProcessorState",
        "KeRestoreExtendedProcessorState",
        "KfRaiseIrql",
    ];
    let all = |m: &Machine| imports(m, names);
    let rule = rules::EXTENDED_STATE_BALANCE;
    let m = machine();
    stopped(&m, Irql::PASSIVE, open as *const (), &all(&m)[..1], rule);
    let m = machine();
    stopped(&m, Irql::PASSIVE, close as *const (), &all(&m)[1..2], rule);
    let m = machine();
    stopped(&m, Irql::PASSIVE, crossed as *const (), &all(&m)[..2], rule);
    let m = machine();
    stopped(&m, Irql::PASSIVE, other_irql as *const (), &all(&m), rule);
}

#[test]
fn a_mask_beyond_the_enabled_features_is_refused() {
    extern "efiapi" fn f(save: F2, mask: u64) -> u64 {
        let mut area = [0u64; 7];
        save(mask, area.as_mut_ptr() as u64)
    }
    let m = Machine::builder().enabled_features(0).build();
    let args = [import(&m, "KeSaveExtendedProcessorState"), XSTATE_AVX];
    stopped(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &args,
        rules::EXTENDED_STATE_MASK,
    );
}

#[test]
fn a_save_can_be_made_to_fail() {
    extern "efiapi" fn f(save: F2, restore: F1) -> u64 {
        let mut area = [0u64; 7];
        let first = save(0, area.as_mut_ptr() as u64);
        let second = save(0, area.as_mut_ptr() as u64);
        restore(area.as_mut_ptr() as u64);
        (first & 0xFFFF_FFFF) << 32 | second & 0xFFFF_FFFF
    }
    let m = machine();
    let args = imports(
        &m,
        [
            "KeSaveExtendedProcessorState",
            "KeRestoreExtendedProcessorState",
        ],
    );
    m.faults().fail_next("KeSaveExtendedProcessorState");
    // STATUS_INSUFFICIENT_RESOURCES, then STATUS_SUCCESS.
    assert_eq!(
        drive(&m, Irql::DISPATCH, f as *const (), &args).unwrap(),
        0xC000_009A << 32
    );
}

#[unsafe(naked)]
extern "efiapi" fn clobber_xmm6() {
    naked_asm!("pxor xmm6, xmm6", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn clobber_rsi() {
    naked_asm!("xor esi, esi", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn set_direction() {
    naked_asm!("std", "ret")
}

#[test]
fn nonvolatile_registers_are_checked() {
    for (f, name) in [
        (clobber_xmm6 as *const (), "xmm6"),
        (clobber_rsi as *const (), "rsi"),
        (set_direction as *const (), "direction flag"),
    ] {
        let check = stopped(
            &machine(),
            Irql::PASSIVE,
            f,
            &[],
            rules::NONVOLATILE_REGISTER,
        );
        assert!(check.message().contains(name), "{check}");
    }
}

extern "efiapi" fn write_to(address: u64) -> u64 {
    // SAFETY: none: the fault is the point.
    unsafe { (address as *mut u64).write_volatile(1) };
    0
}

#[unsafe(naked)]
extern "efiapi" fn illegal() {
    naked_asm!("ud2")
}

#[unsafe(naked)]
extern "efiapi" fn privileged() {
    naked_asm!("cli", "ret")
}

#[unsafe(naked)]
extern "efiapi" fn deep() {
    naked_asm!("2: push rax", "jmp 2b")
}

/// A frame of 16 KiB, as the compiler makes it: rcx is `__chkstk`.
#[unsafe(naked)]
extern "efiapi" fn big_frame(_chkstk: u64) {
    naked_asm!(
        "mov eax, 16384",
        "call rcx",
        "sub rsp, rax",
        "add rsp, rax",
        "ret"
    )
}

#[test]
fn faults_become_bug_checks() {
    let check = stopped(
        &machine(),
        Irql::PASSIVE,
        write_to as *const (),
        &[16],
        rules::PAGE_FAULT,
    );
    assert!(check.message().contains("a write of 0x10"), "{check}");
    let m = machine();
    stopped(
        &m,
        Irql::PASSIVE,
        write_to as *const (),
        &[1 << 63],
        rules::KMODE_EXCEPTION,
    );
    stopped(
        &machine(),
        Irql::PASSIVE,
        illegal as *const (),
        &[],
        rules::KMODE_EXCEPTION,
    );
    stopped(
        &machine(),
        Irql::PASSIVE,
        privileged as *const (),
        &[],
        rules::KMODE_EXCEPTION,
    );
    stopped(
        &machine(),
        Irql::PASSIVE,
        0x10 as *const (),
        &[],
        rules::PAGE_FAULT,
    );
    stopped(
        &machine(),
        Irql::PASSIVE,
        deep as *const (),
        &[],
        rules::STACK_OVERFLOW,
    );
    // The machine answers every further call with the same bug check.
    assert_eq!(
        m.run(None, Irql::PASSIVE, || 1).unwrap_err().rule(),
        rules::KMODE_EXCEPTION
    );
}

#[test]
fn stack_use_is_measured_and_limited() {
    let m = Machine::builder().stack_limit(None).build();
    let args = imports(&m, ["__chkstk"]);
    drive(&m, Irql::PASSIVE, big_frame as *const (), &args).unwrap();
    let (depth, what) = m.report().stack_high_water.unwrap();
    assert!((16384..16384 + 128).contains(&depth), "{depth}");
    assert_eq!(what, "TestCallback");
    let m = machine();
    stopped(
        &m,
        Irql::PASSIVE,
        big_frame as *const (),
        &imports(&m, ["__chkstk"]),
        rules::STACK_USE,
    );
}

#[test]
fn what_was_left_on_the_stack_can_be_looked_at() {
    /// Leaves rcx below the stack pointer.
    #[unsafe(naked)]
    extern "efiapi" fn leave(_secret: u64) {
        naked_asm!("push rcx", "pop rax", "ret")
    }
    const SECRET: u64 = 0x1F2E_3D4C_5B6A_7988;
    let m = machine();
    let found = || {
        let mut found = 0;
        m.for_each_kernel_stack(|stack| {
            let secret = SECRET.to_le_bytes();
            found += stack.windows(8).filter(|bytes| **bytes == secret).count();
        });
        found
    };
    assert_eq!(found(), 0);
    drive(&m, Irql::PASSIVE, leave as *const (), &[SECRET]).unwrap();
    m.settle().unwrap();
    assert_eq!(found(), 1);
}

#[test]
fn a_callback_that_never_returns_is_a_hang() {
    #[unsafe(naked)]
    extern "efiapi" fn forever() {
        naked_asm!("2: pause", "jmp 2b")
    }
    let m = Machine::builder()
        .watchdog(std::time::Duration::from_millis(300))
        .build();
    let check = stopped(&m, Irql::PASSIVE, forever as *const (), &[], rules::HANG);
    let words = "TestCallback has been running on processor 0 for more than 300ms";
    assert!(check.message().contains(words), "{check}");
}

/// KeLowerIrql of the headers for C is a write to CR8.
#[test]
fn the_irql_register_is_not_lowered_with_a_lock_held() {
    extern "efiapi" fn lower(acquire: F1, lock: u64) -> u64 {
        acquire(lock);
        // SAFETY: the simulator emulates the instruction.
        unsafe { std::arch::asm!("mov cr8, {}", in(reg) 0u64) };
        0
    }
    let m = machine();
    let acquire = import(&m, "KeAcquireSpinLockRaiseToDpc");
    let args = [acquire, leaked(0)];
    let check = stopped(
        &m,
        Irql::PASSIVE,
        lower as *const (),
        &args,
        rules::SPIN_LOCK_HELD,
    );
    assert!(
        check.message().contains("IRQL lowered to PASSIVE_LEVEL"),
        "{check}"
    );
}

#[test]
fn the_irql_register_is_emulated() {
    #[unsafe(naked)]
    extern "efiapi" fn read() -> u64 {
        naked_asm!("mov r9, cr8", "mov rax, r9", "ret")
    }
    #[unsafe(naked)]
    extern "efiapi" fn raise() -> u64 {
        naked_asm!("mov ecx, 2", "mov cr8, rcx", "mov rax, cr8", "ret")
    }
    let m = machine();
    assert_eq!(drive(&m, Irql::APC, read as *const (), &[]).unwrap(), 1);
    assert_eq!(
        drive(&m, Irql::DISPATCH, raise as *const (), &[]).unwrap(),
        2
    );
    stopped(
        &m,
        Irql::PASSIVE,
        raise as *const (),
        &[],
        rules::IRQL_AT_RETURN,
    );
}
