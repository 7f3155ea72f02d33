//! ntoskrnl: IRQLs, debug output, MDLs, leaf functions.

mod machine_support;

use machine_support::*;
use ndis_sim::{
    Irql, Machine,
    exports::{NTOSKRNL, WDFLDR},
    gate,
    irql::IrqlRange,
    report::rules,
};

#[test]
fn every_export_checks_the_irql_of_its_page() {
    let m = machine();
    let limited: Vec<_> = m
        .registry()
        .iter()
        .filter(|e| e.dll == NTOSKRNL && e.irql != IrqlRange::ANY)
        .copied()
        .collect();
    assert!(limited.len() > 30, "{limited:?}");
    for export in limited {
        let wrong = if export.irql.max < Irql::HIGH {
            Irql(export.irql.max.0 + 1)
        } else {
            Irql::PASSIVE
        };
        // The arguments do not matter: the IRQL is looked at first.
        call_stopped(wrong, export.name, &[], export.irql_rule);
    }
}

/// The names that the build allows the driver to import.
#[test]
fn everything_on_the_drivers_allowlist_is_exported() {
    let m = machine();
    let lists = [
        (NTOSKRNL, include_str!("../../xtask/kit/def/ntoskrnl.def")),
        (WDFLDR, include_str!("../../xtask/kit/def/WdfLdr.def")),
    ];
    for (dll, list) in lists {
        let names = list.lines().skip_while(|l| *l != "EXPORTS").skip(1);
        let names: Vec<_> = names.filter_map(|l| l.split_whitespace().next()).collect();
        assert!(names.len() >= 2);
        for name in names {
            assert!(m.resolve(dll, name).is_some(), "{dll}!{name}");
        }
    }
}

#[test]
fn debug_output_is_formatted() {
    let m = machine();
    let format = c"%s|%d|%u|%08x|%I64x|%p|%-4c|%5.2s|%wZ|%ws|%lld|%%\n";
    let unicode: Vec<u16> = "wide".encode_utf16().chain([0]).collect();
    let string = [8u64 | 8 << 16, unicode.as_ptr() as u64];
    extern "efiapi" fn f(print: u64, args: u64) -> u64 {
        // SAFETY: the test passes DbgPrint and twelve words for it.
        unsafe {
            let print: extern "efiapi" fn(
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
                u64,
            ) -> u64 = std::mem::transmute(print);
            let a = &*(args as *const [u64; 12]);
            print(
                a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11],
            )
        }
    }
    let args: [u64; 12] = [
        format.as_ptr() as u64,
        c"text".as_ptr() as u64,
        -5i32 as u32 as u64,
        u64::from(u32::MAX),
        0xBEEF,
        0x1_0000_0001,
        0x1234,
        u64::from(b'c'),
        c"abc".as_ptr() as u64,
        string.as_ptr() as u64,
        unicode.as_ptr() as u64,
        -7i64 as u64,
    ];
    let print = import(&m, "DbgPrint");
    drive(
        &m,
        Irql::PASSIVE,
        f as *const (),
        &[print, args.as_ptr() as u64],
    )
    .unwrap();
    let expected =
        "text|-5|4294967295|0000beef|100000001|0000000000001234|c   |   ab|wide|wide|-7|%\n";
    assert_eq!(m.kernel().log.messages(), [expected]);
}

#[test]
fn unicode_output_above_passive_level_is_seen() {
    let wide = [u16::from(b'x'), 0];
    call_stopped(
        Irql::DISPATCH,
        "DbgPrint",
        &[c"%ws".as_ptr() as u64, wide.as_ptr() as u64],
        rules::IRQL,
    );
}

#[test]
fn the_drivers_own_bug_check_stops_the_machine() {
    let check = call_stopped(
        Irql::DISPATCH,
        "KeBugCheckEx",
        &[0xE2, 1, 2, 3, 4],
        rules::MANUALLY_INITIATED,
    );
    assert!(
        check.message().contains("0xE2 (0x1, 0x2, 0x3, 0x4)"),
        "{check}"
    );
}

#[test]
fn features_are_those_of_the_simulated_system() {
    let m = Machine::builder().enabled_features(0).build();
    assert_eq!(
        call(
            &m,
            Irql::PASSIVE,
            "RtlGetEnabledExtendedFeatures",
            &[u64::MAX]
        )
        .unwrap(),
        3
    );
    let m = machine();
    let all = gate::enabled_features();
    assert_eq!(
        call(
            &m,
            Irql::PASSIVE,
            "RtlGetEnabledExtendedFeatures",
            &[u64::MAX]
        )
        .unwrap(),
        all
    );
}

#[test]
fn mdls_are_mapped_only_when_locked_and_mapping_can_fail() {
    let m = machine();
    let buffer = m.guarded(100);
    let mdl = call(
        &m,
        Irql::DISPATCH,
        "IoAllocateMdl",
        &[buffer.as_ptr() as u64, 100, 0, 0, 0],
    )
    .unwrap();
    call(&m, Irql::DISPATCH, "MmBuildMdlForNonPagedPool", &[mdl]).unwrap();
    m.faults().fail_next("MmMapLockedPagesSpecifyCache");
    let map = |m: &Machine| {
        call(
            m,
            Irql::DISPATCH,
            "MmMapLockedPagesSpecifyCache",
            &[mdl, 0, 1, 0, 0],
        )
    };
    assert_eq!(map(&m).unwrap(), 0);
    assert_eq!(map(&m).unwrap(), buffer.as_ptr() as u64);
    assert_eq!(m.tracker().count("IoAllocateMdl"), 1);
    call(&m, Irql::DISPATCH, "IoFreeMdl", &[mdl]).unwrap();
    assert_eq!(m.tracker().count("IoAllocateMdl"), 0);
    let raw = ndis_sim::ntos::mdl::allocate(buffer.as_ptr() as usize, 100) as u64;
    let check = call(
        &m,
        Irql::DISPATCH,
        "MmMapLockedPagesSpecifyCache",
        &[raw, 0, 1, 0, 0],
    )
    .unwrap_err();
    assert_eq!(check.rule(), rules::INVALID_ARGUMENT);
}

#[test]
fn leaf_functions_do_what_their_names_say() {
    let m = machine();
    let [copy, set, compare, len] = imports(&m, ["memmove", "memset", "memcmp", "strlen"]);
    for n in [
        0usize, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 200, 1000,
    ] {
        for shift in [0usize, 1, 5, 16, 40] {
            // From below to above and the other way round, both overlapping.
            for (from, to) in [(0, shift), (shift, 0)] {
                let mut data: Vec<u8> = (0..n + 64).map(|i| (i * 7 + 3) as u8).collect();
                let mut expected = data.clone();
                expected.copy_within(from..from + n, to);
                let base = data.as_mut_ptr() as u64;
                let args = [copy, base + to as u64, base + from as u64, n as u64];
                let result = drive(&m, Irql::PASSIVE, forward as *const (), &args).unwrap();
                assert_eq!(
                    (result, &data),
                    (base + to as u64, &expected),
                    "{n} bytes by {shift}"
                );
            }
        }
        let mut data = vec![1u8; n + 1];
        let args = [set, data.as_mut_ptr() as u64, 0x1A5, n as u64];
        drive(&m, Irql::PASSIVE, forward as *const (), &args).unwrap();
        assert!(data[..n].iter().all(|b| *b == 0xA5) && data[n] == 1);
        let mut other = data.clone();
        let order = |other: &[u8]| {
            let args = [
                compare,
                data.as_ptr() as u64,
                other.as_ptr() as u64,
                n as u64,
            ];
            drive(&m, Irql::PASSIVE, forward as *const (), &args).unwrap() as i32
        };
        assert_eq!(order(&other), 0);
        if let Some(last) = n.checked_sub(1) {
            other[last] = 0xA6;
            assert!(order(&other) < 0);
            other[last] = 0x01;
            assert!(order(&other) > 0);
        }
    }
    let args = [len, c"four".as_ptr() as u64];
    assert_eq!(
        drive(&m, Irql::PASSIVE, forward as *const (), &args).unwrap(),
        4
    );
}

/// A frame's worth below the top, and what the callers have taken is gone.
#[test]
fn the_stack_limits_are_those_of_a_kernel_stack() {
    extern "efiapi" fn f(limits: F2, out: u64) -> u64 {
        limits(out, out + 8);
        out
    }
    for taken in [0, 10 * 1024, 24 * 1024] {
        let m = machine();
        m.kernel().callers.take(taken);
        let out = Box::leak(Box::new([0_u64; 2]));
        let args = [import(&m, "IoGetStackLimits"), out.as_mut_ptr() as u64];
        drive(&m, Irql::HIGH, f as *const (), &args).unwrap();
        // SAFETY: leaked above, and written by the driver's side meanwhile.
        let [low, high] = unsafe { (&raw const *out).read_volatile() };
        assert_eq!(high - low, (24 * 1024 - taken) as u64);
    }
}
