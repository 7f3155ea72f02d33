//! Extended processor state: which components there are, and their canaries.

use std::{
    alloc::{self, Layout},
    arch::asm,
    ptr,
    sync::OnceLock,
};

/// x87 and SSE: always the driver's to use on x64.
pub const XSTATE_LEGACY: u64 = 0b11;
/// Upper halves of YMM0 to YMM15: `XSTATE_MASK_GSSE`, also named AVX.
pub const XSTATE_AVX: u64 = 1 << 2;
/// Opmask registers, upper halves of ZMM0 to ZMM15, ZMM16 to ZMM31.
pub const XSTATE_AVX512: u64 = 0b111 << 5;

/// Components that the canaries can watch.
const WATCHED: u64 = XSTATE_AVX | XSTATE_AVX512;
const HEADER: usize = 512;
const MXCSR: usize = 24;
const MXCSR_DEFAULT: u32 = 0x1F80;

/// One component in XSAVE's standard form.
#[derive(Clone, Copy)]
struct Component {
    number: u32,
    offset: usize,
    size: usize,
}

/// What this CPU offers; constant for the process.
struct Cpu {
    enabled: u64,
    area: usize,
    components: Vec<Component>,
}

fn cpu() -> &'static Cpu {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(|| {
        let osxsave = std::arch::x86_64::__cpuid(1).ecx & (1 << 27) != 0;
        if !osxsave {
            return Cpu {
                enabled: XSTATE_LEGACY,
                area: HEADER + 64,
                components: Vec::new(),
            };
        }
        let (low, high): (u32, u32);
        // SAFETY: OSXSAVE says that XGETBV may be used.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
        };
        let enabled = (u64::from(high) << 32 | u64::from(low)) & (XSTATE_LEGACY | WATCHED);
        let components: Vec<_> = (2..64u32)
            .filter(|n| enabled & (1 << n) != 0)
            .map(|number| {
                let leaf = std::arch::x86_64::__cpuid_count(0xD, number);
                Component {
                    number,
                    offset: leaf.ebx as usize,
                    size: leaf.eax as usize,
                }
            })
            .collect();
        let end = components.iter().map(|c| c.offset + c.size).max();
        let area = end.unwrap_or(HEADER + 64).next_multiple_of(64);
        Cpu {
            enabled,
            area,
            components,
        }
    })
}

/// The features that this computer's system has enabled: the host's, of those
/// that the simulator can watch.
#[must_use]
pub fn enabled_features() -> u64 {
    cpu().enabled
}

/// A zeroed buffer as XSAVE wants it.
pub(super) struct Area(*mut u8);

impl Area {
    fn layout() -> Layout {
        Layout::from_size_align(cpu().area, 64).expect("a small power of two")
    }

    pub(super) fn new() -> Self {
        // SAFETY: the size is not zero.
        let p = unsafe { alloc::alloc_zeroed(Self::layout()) };
        assert!(!p.is_null(), "out of memory");
        Self(p)
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.0
    }

    fn component(&self, c: Component) -> &[u8] {
        // SAFETY: the area covers every component.
        unsafe { std::slice::from_raw_parts(self.0.add(c.offset), c.size) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { alloc::dealloc(self.0, Self::layout()) };
    }
}

/// The image that XRSTOR loads: noise in every watched component.
pub(super) fn canaries() -> Area {
    let area = Area::new();
    let mut noise = 0x2545_F491_4F6C_DD1Du64;
    for c in &cpu().components {
        for i in 0..c.size {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            // SAFETY: within the component, which is within the area.
            unsafe { area.0.add(c.offset + i).write(noise as u8) };
        }
    }
    let header = watched().to_ne_bytes();
    // SAFETY: MXCSR and XSTATE_BV are in the fixed part of the area.
    unsafe {
        ptr::copy_nonoverlapping(MXCSR_DEFAULT.to_ne_bytes().as_ptr(), area.0.add(MXCSR), 4);
        ptr::copy_nonoverlapping(header.as_ptr(), area.0.add(HEADER), 8);
    }
    area
}

/// The components that can be watched on this CPU.
pub(super) fn watched() -> u64 {
    cpu().enabled & WATCHED
}

/// Describes the first difference between the saved state and the canaries in
/// the components of `mask`.
pub(super) fn difference(saved: &Area, canaries: &Area, mask: u64) -> Option<String> {
    for &c in cpu()
        .components
        .iter()
        .filter(|c| mask & (1 << c.number) != 0)
    {
        let (is, was) = (saved.component(c), canaries.component(c));
        if is == was {
            continue;
        }
        let at = is.iter().zip(was).position(|(a, b)| a != b).unwrap_or(0);
        return Some(match c.number {
            2 => format!("the upper half of ymm{}", at / 16),
            5 => format!("k{}", at / 8),
            6 => format!("the upper half of zmm{}", at / 32),
            7 => format!("zmm{}", 16 + at / 64),
            n => format!("state component {n}"),
        });
    }
    None
}
