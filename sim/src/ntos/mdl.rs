//! Memory descriptor lists. The simulator has one address space and no paging,
//! so an MDL's system address is the address that it describes.

use std::{ffi::c_void, ptr};

use ndis_sys::{MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_SOURCE_IS_NONPAGED_POOL};

use super::pool::free_object;
use crate::{
    exports::{Export, NTOSKRNL},
    history::Kind,
    irql::Irql,
    processor,
    report::{rules, violation, violation_about},
};

const PAGE: usize = 4096;
const KIND: &str = "IoAllocateMdl";
const KERNEL_MODE: i8 = 0;

/// Size of an MDL with the page frame numbers behind it.
fn size_of_mdl(address: usize, len: usize) -> usize {
    size_of::<MDL>() + ((address % PAGE) + len).div_ceil(PAGE) * size_of::<usize>()
}

/// Makes zeroed memory an MDL for `len` bytes at `address`, not yet locked or mapped.
///
/// # Safety
/// `mdl` is zeroed memory of [`size_of_mdl`] bytes, aligned to 8.
unsafe fn initialize(mdl: *mut MDL, address: usize, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        (*mdl).Size = size_of_mdl(address, len) as i16;
        (*mdl).StartVa = (address & !(PAGE - 1)) as *mut c_void;
        (*mdl).ByteOffset = (address % PAGE) as u32;
        (*mdl).ByteCount = len as u32;
    }
}

/// An MDL for `len` bytes at `address`, not yet locked or mapped, in memory that is never freed: for
/// tests that pass a driver one of somebody else's.
#[must_use]
pub fn allocate(address: usize, len: usize) -> *mut MDL {
    let words = vec![0u64; size_of_mdl(address, len).div_ceil(8)];
    let mdl = Box::leak(words.into_boxed_slice()).as_mut_ptr().cast();
    // SAFETY: zeroed, aligned memory of that size.
    unsafe { initialize(mdl, address, len) };
    mdl
}

/// Marks an MDL as describing non-paged pool, as MmBuildMdlForNonPagedPool does.
///
/// # Safety
/// `mdl` is an MDL.
pub unsafe fn build_for_nonpaged_pool(mdl: *mut MDL) {
    // SAFETY: the caller's promise.
    unsafe {
        (*mdl).MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
        (*mdl).MappedSystemVa = address(mdl);
    }
}

/// The address that an MDL describes.
///
/// # Safety
/// `mdl` is an MDL.
#[must_use]
pub unsafe fn address(mdl: *const MDL) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        (*mdl)
            .StartVa
            .cast::<u8>()
            .wrapping_add((*mdl).ByteOffset as usize)
            .cast()
    }
}

unsafe extern "efiapi" fn mm_map_locked_pages_specify_cache(
    mdl: *mut MDL,
    mode: i8,
    _cache: u32,
    _requested: *mut c_void,
    bug_check_on_failure: u32,
    _priority: u32,
) -> *mut c_void {
    let machine = processor::current();
    // SAFETY: the driver's MDL.
    let (flags, len) = unsafe { ((*mdl).MdlFlags, (*mdl).ByteCount) };
    let object = [(Kind::Mdl, mdl as u64)];
    if mode != KERNEL_MODE {
        violation_about(
            rules::INVALID_ARGUMENT,
            "MmMapLockedPagesSpecifyCache for user mode",
            &object,
        );
    }
    if flags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL) == 0 {
        violation_about(
            rules::INVALID_ARGUMENT,
            format!(
                "MmMapLockedPagesSpecifyCache of an MDL of {len} bytes that is not locked (flags 0x{flags:x})"
            ),
            &object,
        );
    }
    if machine
        .machine()
        .faults()
        .hit("MmMapLockedPagesSpecifyCache")
    {
        if bug_check_on_failure != 0 {
            violation_about(
                rules::INVALID_ARGUMENT,
                "mapping failed, and the driver asked for a bug check in that case",
                &object,
            );
        }
        return ptr::null_mut();
    }
    // SAFETY: as above.
    unsafe {
        (*mdl).MappedSystemVa = address(mdl);
        (*mdl).MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
        (*mdl).MappedSystemVa
    }
}

unsafe extern "efiapi" fn mm_unmap_locked_pages(base: *mut c_void, mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    unsafe {
        if (*mdl).MdlFlags & MDL_MAPPED_TO_SYSTEM_VA == 0 || (*mdl).MappedSystemVa != base {
            violation_about(
                rules::INVALID_ARGUMENT,
                format!("MmUnmapLockedPages of {base:p}, which is not mapped"),
                &[(Kind::Mdl, mdl as u64)],
            );
        }
        (*mdl).MdlFlags &= !MDL_MAPPED_TO_SYSTEM_VA;
    }
}

unsafe extern "efiapi" fn mm_build_mdl_for_non_paged_pool(mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    unsafe { build_for_nonpaged_pool(mdl) };
}

unsafe extern "efiapi" fn io_allocate_mdl(
    va: *mut c_void,
    len: u32,
    _secondary: u8,
    _quota: u8,
    irp: *mut c_void,
) -> *mut MDL {
    let cpu = processor::current();
    if !irp.is_null() {
        violation(rules::MISSING_FUNCTION, "IoAllocateMdl for an IRP");
    }
    let too_long = size_of_mdl(va as usize, len as usize) > i16::MAX as usize;
    if too_long || cpu.machine().faults().hit(KIND) {
        return ptr::null_mut();
    }
    let size = size_of_mdl(va as usize, len as usize);
    let machine = cpu.machine();
    let objects = &machine.kernel().objects;
    let mdl: *mut MDL = objects.allocate_object(size, 8, Kind::Mdl, None).cast();
    if mdl.is_null() {
        return mdl;
    }
    // SAFETY: zeroed, aligned memory of that size.
    unsafe { initialize(mdl, va as usize, len as usize) };
    machine.track(KIND, mdl as u64, format!("{len} bytes"));
    machine.note(Kind::Mdl, mdl as u64, "allocated for", va as u64);
    mdl
}

unsafe extern "efiapi" fn io_free_mdl(mdl: *mut MDL) {
    let cpu = processor::current();
    let machine = cpu.machine();
    let object = (Kind::Mdl, mdl as u64);
    if !machine.untrack(KIND, mdl as u64) {
        violation_about(
            rules::INVALID_ARGUMENT,
            format!("IoFreeMdl of {mdl:p}, which IoAllocateMdl did not return or which was freed"),
            &[object],
        );
    }
    machine.note(Kind::Mdl, mdl as u64, "freed", 0);
    free_object(&machine.kernel().objects, mdl.cast(), object);
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e(
            "MmMapLockedPagesSpecifyCache",
            mm_map_locked_pages_specify_cache as *const (),
            6,
        ),
        e("MmUnmapLockedPages", mm_unmap_locked_pages as *const (), 2),
        e(
            "MmBuildMdlForNonPagedPool",
            mm_build_mdl_for_non_paged_pool as *const (),
            1,
        ),
        e("IoAllocateMdl", io_allocate_mdl as *const (), 5),
        e("IoFreeMdl", io_free_mdl as *const (), 1),
    ]
}
