//! The loader: images from DriverEntry to DriverUnload, and images that must
//! not load.

mod machine_support;

use machine_support::{
    machine,
    pe::{INIT, MESSAGE, Pe, RDATA, RWX, UNLOAD, relative},
};
use ndis_sim::{BugCheck, LoadError, Machine, driver::LoadOptions, report::rules};

fn load(m: &Machine, pe: &Pe) -> Result<ndis_sim::Driver, LoadError> {
    m.load_image("test.sys", &pe.build(), LoadOptions::service("test"))
}

#[test]
fn an_image_is_relocated_bound_started_and_unloaded() {
    let m = machine();
    let driver = load(&m, &Pe::default()).unwrap();
    assert_eq!(m.kernel().log.messages(), [MESSAGE]);
    let image = driver.image().unwrap();
    let names: Vec<_> = image.sections().map(|(name, _, _)| name).collect();
    assert_eq!(names, [".text", ".rdata", ".data", "INIT", ".reloc"]);
    // SAFETY: the driver's object, which DriverEntry filled in.
    let (start, unload) = unsafe {
        (
            (*driver.object()).driver_start,
            (*driver.object()).driver_unload,
        )
    };
    assert_eq!(start as usize, image.base());
    assert_eq!(unload as usize, image.base() + UNLOAD as usize);
    assert_eq!(driver.unload().unwrap(), []);
    assert!(m.report().is_clean());
}

#[test]
fn one_machine_loads_a_driver_again() {
    let m = machine();
    for _ in 0..3 {
        load(&m, &Pe::default()).unwrap().unload().unwrap();
    }
    assert_eq!(m.kernel().log.messages().len(), 3);
}

#[test]
fn an_unknown_import_is_named() {
    let error = load(
        &machine(),
        &Pe {
            import: "ZwLoadDriver",
            ..Pe::default()
        },
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LoadError::MissingImport { .. }));
    assert!(
        text.contains("test.sys imports ntoskrnl.exe!ZwLoadDriver"),
        "{text}"
    );
}

#[test]
fn images_that_windows_would_refuse_are_refused() {
    for (pe, text) in [
        (
            Pe {
                text: RWX,
                ..Pe::default()
            },
            "writable and executable",
        ),
        (
            Pe {
                machine: 0xAA64,
                ..Pe::default()
            },
            "not x64",
        ),
        (
            Pe {
                subsystem: 3,
                ..Pe::default()
            },
            "not native",
        ),
        (
            Pe {
                relocation: 3,
                ..Pe::default()
            },
            "relocation type",
        ),
    ] {
        let error = load(&machine(), &pe).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn damaged_files_are_refused_or_load_but_never_crash() {
    let good = Pe::default().build();
    let m = machine();
    for len in (0..0x400)
        .step_by(7)
        .chain((0x400..good.len()).step_by(509))
    {
        let error = m.load_image("cut.sys", &good[..len], LoadOptions::service("cut"));
        assert!(
            matches!(error, Err(LoadError::Format(_))),
            "cut to {len} bytes"
        );
    }
    assert!(m.bug_check().is_none());
}

fn stopped_in_unload(unload: Vec<u8>) -> BugCheck {
    let m = machine();
    load(
        &m,
        &Pe {
            unload,
            ..Pe::default()
        },
    )
    .unwrap()
    .unload()
    .unwrap_err()
}

fn operand(opcode: &[u8], to: u32) -> Vec<u8> {
    let at = UNLOAD + opcode.len() as u32;
    [opcode, &relative(at, to)].concat()
}

#[test]
fn section_protections_hold() {
    // call INIT, whose section is gone once DriverEntry has returned
    let check = stopped_in_unload(operand(&[0xE8], INIT));
    assert_eq!(check.rule(), rules::PAGE_FAULT);
    assert!(check.message().contains("execution of"), "{check}");
    assert!(
        check.message().contains("test.sys+0x4000 (INIT)"),
        "{check}"
    );
    // inc dword ptr [rdata]
    let check = stopped_in_unload(operand(&[0xFF, 0x05], RDATA));
    assert_eq!(check.rule(), rules::PAGE_FAULT);
    assert!(check.message().contains("a write of"), "{check}");
    assert!(
        check.message().contains("test.sys+0x1100 (.text)"),
        "{check}"
    );
    // call rdata
    let check = stopped_in_unload(operand(&[0xE8], RDATA));
    assert_eq!(check.rule(), rules::PAGE_FAULT);
    assert!(check.message().contains("(.rdata)"), "{check}");
}

#[test]
fn traps_are_named() {
    // mov ecx, 2; int 29h
    let check = stopped_in_unload(vec![0xB9, 2, 0, 0, 0, 0xCD, 0x29]);
    assert_eq!(check.rule(), rules::FAST_FAIL, "{check}");
    assert!(check.message().contains("code 2"), "{check}");
    let check = stopped_in_unload(vec![0xCC]);
    assert_eq!(check.rule(), rules::KMODE_EXCEPTION, "{check}");
    assert!(check.message().contains("breakpoint"), "{check}");
    // xor edx, edx; div edx
    let check = stopped_in_unload(vec![0x31, 0xD2, 0xF7, 0xF2]);
    assert_eq!(check.rule(), rules::KMODE_EXCEPTION, "{check}");
}
