//! One test row for every rule, each of which breaks it alone.

use std::sync::LazyLock;

use super::{
    super::test_image::{
        COFF, DATA, HINT_NAME, Image, MODULE, OPTIONAL, RDATA, SECTIONS, SIZE, TEXT, THUNKS, good,
    },
    *,
};

fn allowed() -> Vec<Library> {
    let dir = tempfile::tempdir().unwrap();
    let list = "LIBRARY NDIS.SYS\nEXPORTS\nNdisMSleep ; ndis: waiting\n";
    std::fs::write(dir.path().join("ndis.def"), list).unwrap();
    allowlist::load(dir.path()).unwrap()
}

fn faults(bytes: &[u8], arch: Arch) -> Vec<String> {
    static ALLOWED: LazyLock<Vec<Library>> = LazyLock::new(allowed);
    match check(bytes, arch, &ALLOWED, true) {
        Ok(_) => Vec::new(),
        Err(error) => format!("{error:#}").lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_good_image_passes_and_its_imports_are_reported() {
    let bytes = good().with_checksum();
    let report = check(&bytes, Arch::X64, &allowed(), true).unwrap();
    assert_eq!(report.size, SIZE);
    assert_eq!(report.imports["NDIS.SYS"], ["NdisMSleep"]);
}

#[test]
fn every_rule_fires_alone() {
    type Change = fn(&mut Image);
    let rows: [(&str, Change); 16] = [
        ("another processor", |i| _ = i.u16(COFF, 0xaa64)),
        ("subsystem is not native", |i| _ = i.u16(OPTIONAL + 68, 3)),
        ("not NX_COMPAT", |i| _ = i.u16(OPTIONAL + 70, 0xe0)),
        ("not DYNAMIC_BASE", |i| _ = i.u16(OPTIONAL + 70, 0x1a0)),
        ("not HIGH_ENTROPY_VA", |i| _ = i.u16(OPTIONAL + 70, 0x1c0)),
        ("FORCE_INTEGRITY", |i| _ = i.u16(OPTIONAL + 70, 0x160)),
        ("no relocations", |i| _ = i.u16(COFF + 18, 0x23)),
        ("no relocations", |i| _ = i.directory(5, 0, 0)),
        ("thread-local storage", |i| _ = i.directory(9, RDATA.1, 40)),
        ("delay-loaded imports", |i| _ = i.directory(13, RDATA.1, 32)),
        (".text is both writable and executable", |i| {
            _ = i.u32(SECTIONS + 36, 0xe000_0020);
        }),
        ("entry point", |i| _ = i.u32(OPTIONAL + 16, DATA.1)),
        ("KMDF 1.33, not 1.31", |i| _ = i.u32(DATA.0 + 28, 33)),
        ("does not bind to KMDF", |i| _ = i.u32(DATA.0 + 8, 0)),
        ("imports NdisMSleeq", |i| {
            _ = i.text(RDATA.0 + HINT_NAME as usize + 11, b"q");
        }),
        ("from NTIS.SYS", |i| {
            _ = i.text(RDATA.0 + MODULE as usize + 1, b"T");
        }),
    ];
    for (expected, change) in rows {
        let mut image = good();
        change(&mut image);
        let found = faults(&image.with_checksum(), Arch::X64);
        assert_eq!(found.len(), 1, "{expected}: {found:?}");
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn an_import_by_ordinal_is_refused() {
    let mut image = good();
    image.u64(RDATA.0 + THUNKS as usize, 1 << 63 | 7);
    let found = faults(&image.with_checksum(), Arch::X64);
    assert!(
        found.len() == 1 && found[0].contains("imports #7"),
        "{found:?}"
    );
}

#[test]
fn a_missing_or_wrong_checksum_is_refused() {
    let unset = good().0;
    let mut wrong = good().with_checksum();
    wrong[TEXT.0] ^= 1;
    for bytes in [unset, wrong] {
        let found = faults(&bytes, Arch::X64);
        assert!(
            found.len() == 1 && found[0].contains("checksum"),
            "{found:?}"
        );
    }
}

#[test]
fn a_cut_file_is_refused() {
    let bytes = good().with_checksum();
    for length in 0..bytes.len() {
        assert!(
            !faults(&bytes[..length], Arch::X64).is_empty(),
            "{length} bytes"
        );
    }
}
