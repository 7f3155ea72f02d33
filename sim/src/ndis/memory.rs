//! Memory and MDLs.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use ndis_sys::{
    MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_SOURCE_IS_NONPAGED_POOL, NDIS_HANDLE,
    NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_SUCCESS, PVOID, UINT, ULONG,
};

use super::{
    block::Block,
    rules,
    state::{Owner, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    history::Kind,
    irql::Irql,
    ntos::pool::free_or_stop,
    report::{violation, violation_about},
};

/// Memory from NdisAllocateMemoryWithTagPriority.
pub(super) struct Memory {
    pub(super) owner: Owner,
    pub(super) address: u64,
    len: usize,
    tag: u32,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag.to_le_bytes();
        let tag: String = tag.iter().map(|b| char::from(*b)).collect();
        write!(
            f,
            "memory {:#x} ({} bytes, tag {tag:?})",
            self.address, self.len
        )
    }
}

/// An MDL from NdisAllocateMdl. The structure is the driver's to chain and to
/// shorten; the address that it maps is not.
pub(super) struct Mdl {
    pub(super) owner: Owner,
    pub(super) mdl: *mut MDL,
    block: Block,
    va: u64,
    len: u32,
    /// How many indicated NET_BUFFER_LISTs describe data with it.
    in_use: AtomicU32,
}

// SAFETY: the structure is reached through raw pointers only.
unsafe impl Send for Mdl {}
// SAFETY: as above.
unsafe impl Sync for Mdl {}

impl fmt::Display for Mdl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MDL {:p} of {} bytes at {:#x}",
            self.mdl, self.len, self.va
        )
    }
}

impl Mdl {
    /// Notes that an indicated NET_BUFFER_LIST uses it, or no longer does.
    pub(super) fn use_in_indication(&self, on: bool) {
        if on {
            self.in_use.fetch_add(1, Ordering::AcqRel);
        } else {
            self.in_use.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

const PAGE: u64 = 4096;

/// Bytes of an MDL with its array of page frame numbers: MmSizeOfMdl.
pub(super) fn mdl_size(va: u64, len: u32) -> usize {
    let first = va & (PAGE - 1);
    let pages = (first + u64::from(len)).div_ceil(PAGE);
    size_of::<MDL>() + 8 * pages as usize
}

/// An MDL as MmBuildMdlForNonPagedPool leaves it.
pub(super) fn mdl_for(va: u64, len: u32) -> MDL {
    // SAFETY: all-zero is a valid value.
    let mut mdl: MDL = unsafe { std::mem::zeroed() };
    mdl.Size = i16::try_from(mdl_size(va, len)).unwrap_or(i16::MAX);
    mdl.MdlFlags = MDL_SOURCE_IS_NONPAGED_POOL;
    mdl.MappedSystemVa = va as PVOID;
    mdl.StartVa = (va & !(PAGE - 1)) as PVOID;
    mdl.ByteOffset = (va & (PAGE - 1)) as u32;
    mdl.ByteCount = len;
    mdl
}

/// Where the bytes of an MDL are. NDIS maps an MDL that is only locked; the
/// simulator has one address space, in which that changes nothing.
///
/// # Safety
/// `mdl` points to an MDL.
pub(super) unsafe fn system_address(mdl: *const MDL) -> *mut u8 {
    const MAPPED: i16 = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    // SAFETY: as the caller says.
    let mdl_read = unsafe { mdl.read() };
    if mdl_read.MdlFlags & MAPPED != 0 {
        return mdl_read.MappedSystemVa.cast();
    }
    if mdl_read.MdlFlags & MDL_PAGES_LOCKED == 0 {
        violation(
            rules::NET_BUFFER_LIST,
            format!("the MDL {mdl:p} is neither mapped nor locked"),
        );
    }
    mdl_read
        .StartVa
        .cast::<u8>()
        .wrapping_add(mdl_read.ByteOffset as usize)
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| Export::new(NDIS, name, f, arity).at_most(Irql::DISPATCH);
    let memory = |e: Export| e.irql_rule(rules::IRQL_MISCELLANEOUS);
    vec![
        memory(any(
            "NdisAllocateMemoryWithTagPriority",
            allocate_priority as *const (),
            4,
        )),
        memory(any(
            "NdisAllocateMemoryWithTag",
            allocate_tag as *const (),
            3,
        )),
        memory(any("NdisFreeMemory", free as *const (), 3)),
        memory(any(
            "NdisFreeMemoryWithTagPriority",
            free_with_tag as *const (),
            3,
        )),
        any("NdisAllocateMdl", allocate_mdl as *const (), 3).irql_rule(rules::IRQL_NET_BUFFER),
        any("NdisFreeMdl", free_mdl as *const (), 1).irql_rule(rules::IRQL_NET_BUFFER),
    ]
}

extern "efiapi" fn allocate_priority(
    handle: NDIS_HANDLE,
    len: UINT,
    tag: ULONG,
    _priority: u32,
) -> PVOID {
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        allocate(machine, owner, len as usize, tag)
    })
}

extern "efiapi" fn allocate_tag(out: *mut PVOID, len: UINT, tag: ULONG) -> NDIS_STATUS {
    required(out, "VirtualAddress");
    here(|machine, state| {
        // The function has no handle.
        let owner = state.caller(machine, 0);
        let memory = allocate(machine, owner, len as usize, tag);
        // SAFETY: checked for NULL.
        unsafe { out.write(memory) };
        if memory.is_null() {
            NDIS_STATUS_FAILURE
        } else {
            NDIS_STATUS_SUCCESS
        }
    })
}

fn allocate(machine: &crate::Machine, owner: Owner, len: usize, tag: u32) -> PVOID {
    if tag == 0 {
        violation(rules::ALLOCATE_MEMORY, format!("{} without a tag", what()));
    }
    if machine.faults().hit("NdisAllocateMemoryWithTagPriority") {
        return std::ptr::null_mut();
    }
    let address = machine.kernel().pool.allocate(len, tag, false) as u64;
    if address != 0 {
        let memory = Memory {
            owner,
            address,
            len,
            tag,
        };
        machine.ndis().memory.insert(address, memory.into());
    }
    address as PVOID
}

extern "efiapi" fn free(address: PVOID, len: UINT, _flags: UINT) {
    free_checked(address, (len != 0).then_some(len as usize), None);
}

extern "efiapi" fn free_with_tag(_handle: NDIS_HANDLE, address: PVOID, tag: ULONG) {
    free_checked(address, None, Some(tag));
}

fn free_checked(address: PVOID, len: Option<usize>, tag: Option<u32>) {
    here(|machine, state| {
        let Some(memory) = state.memory.remove(address as u64) else {
            violation_about(
                rules::ALLOCATE_MEMORY,
                format!(
                    "{} got {address:p}, which is not allocated (any more)",
                    what()
                ),
                &[(Kind::Pool, address as u64)],
            );
        };
        if len.is_some_and(|len| len != memory.len) || tag.is_some_and(|tag| tag != memory.tag) {
            violation_about(
                rules::ALLOCATE_MEMORY,
                format!("{}: length or tag is not that of {memory}", what()),
                &[(Kind::Pool, address as u64)],
            );
        }
        free_or_stop(&machine.kernel().pool, address.cast(), Some(memory.tag));
    });
}

extern "efiapi" fn allocate_mdl(handle: NDIS_HANDLE, va: PVOID, len: UINT) -> *mut MDL {
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        required(va, "VirtualAddress");
        if machine.faults().hit("NdisAllocateMdl") {
            return std::ptr::null_mut();
        }
        let Some(block) = Block::mdl(machine, va as u64, len) else {
            return std::ptr::null_mut();
        };
        let mdl = block.memory.cast();
        let record = Mdl {
            owner,
            mdl,
            block,
            va: va as u64,
            len,
            in_use: AtomicU32::new(0),
        };
        state.mdls.insert(mdl as u64, record.into());
        machine.note(Kind::Mdl, mdl as u64, "allocated for", va as u64);
        mdl
    })
}

extern "efiapi" fn free_mdl(mdl: *mut MDL) {
    let object = [(Kind::Mdl, mdl as u64)];
    here(|machine, state| {
        let Some(record) = state.mdls.remove(mdl as u64) else {
            violation_about(
                rules::ALLOCATE_MDL,
                format!(
                    "NdisFreeMdl got {mdl:p}, which NdisAllocateMdl did not return or which was freed"
                ),
                &object,
            );
        };
        machine.note(Kind::Mdl, mdl as u64, "freed", 0);
        if record.in_use.load(Ordering::Acquire) != 0 {
            violation_about(
                rules::RECEIVE_OWNERSHIP,
                format!("NdisFreeMdl: {record} describes data of an indicated NET_BUFFER_LIST"),
                &object,
            );
        }
        // SAFETY: the structure is still allocated.
        if unsafe { (*mdl).MappedSystemVa } as u64 != record.va {
            violation_about(
                rules::ALLOCATE_MDL,
                format!("NdisFreeMdl: the mapping of {record} was changed"),
                &object,
            );
        }
        record.block.free();
    });
}
