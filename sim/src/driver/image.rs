//! A kernel-mode PE image, mapped as Windows' loader maps it.

use std::{fmt, ptr, slice};

use object::{
    LittleEndian as LE, pe,
    read::pe::{Import, PeFile64},
};

use pe_unwind_info::x86_64::{FunctionTableEntries, UnwindState};

use super::{LoadError, symbols::Symbols};

const PAGE: usize = 4096;

/// A mapped image; unmapped on drop.
pub struct Image {
    name: String,
    base: usize,
    size: usize,
    entry: usize,
    sections: Vec<Section>,
    /// Where the table of functions with their unwind data is.
    functions: std::ops::Range<usize>,
    imports: Vec<(String, String)>,
    pub(super) symbols: Symbols,
}

struct Section {
    name: String,
    start: usize,
    size: usize,
    characteristics: pe::SectionFlags,
}

impl Section {
    fn has(&self, flag: pe::SectionFlags) -> bool {
        self.characteristics & flag == flag
    }
}

fn format(e: impl fmt::Display) -> LoadError {
    LoadError::Format(e.to_string())
}

fn bad<T>(message: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::Format(message.into()))
}

/// The exception directory, as RVAs.
fn functions(parsed: &PeFile64<'_>) -> Option<std::ops::Range<usize>> {
    let directory = parsed.data_directory(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION)?;
    let start = directory.virtual_address.get(LE) as usize;
    Some(start..start.checked_add(directory.size.get(LE) as usize)?)
}

impl Image {
    /// Maps `file`: sections, base relocations, imports, protections. Runs none of its code.
    ///
    /// # Errors
    /// [`LoadError::Format`] and [`LoadError::MissingImport`].
    pub fn map(
        name: &str,
        file: &[u8],
        resolve: impl Fn(&str, &str) -> Option<*const ()>,
    ) -> Result<Self, LoadError> {
        let parsed = PeFile64::parse(file).map_err(format)?;
        let header = parsed.nt_headers();
        let optional = &header.optional_header;
        if header.file_header.machine.get(LE) != pe::IMAGE_FILE_MACHINE_AMD64 {
            return bad("the machine is not x64");
        }
        if optional.subsystem.get(LE) != pe::IMAGE_SUBSYSTEM_NATIVE {
            return bad("the subsystem is not native");
        }
        let (size, headers) = (
            optional.size_of_image.get(LE) as usize,
            optional.size_of_headers.get(LE) as usize,
        );
        let entry = optional.address_of_entry_point.get(LE) as usize;
        if size == 0
            || size > 1 << 30
            || !size.is_multiple_of(PAGE)
            || headers > size.min(file.len())
            || entry >= size
        {
            return bad("the sizes in the optional header are not plausible");
        }
        // SAFETY: a new anonymous mapping.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return bad("no memory for the image");
        }
        let mut image = Self {
            name: name.to_owned(),
            base: map as usize,
            size,
            entry,
            sections: Vec::new(),
            functions: functions(&parsed).filter(|r| r.end <= size).unwrap_or(0..0),
            imports: Vec::new(),
            symbols: Symbols::of(&parsed),
        };
        // SAFETY: the mapping, which nobody else refers to while it is filled.
        let bytes = unsafe { slice::from_raw_parts_mut(map.cast::<u8>(), size) };
        bytes[..headers].copy_from_slice(&file[..headers]);
        for section in parsed.section_table().iter() {
            let start = section.virtual_address.get(LE) as usize;
            let data = section.pe_data(file).map_err(format)?;
            let virtual_size = section.virtual_size.get(LE) as usize;
            let data = &data[..data.len().min(virtual_size)];
            let end = start
                .checked_add(virtual_size)
                .filter(|end| *end <= size && start.is_multiple_of(PAGE));
            if end.is_none() {
                return bad("a section is outside of the image");
            }
            bytes[start..start + data.len()].copy_from_slice(data);
            image.sections.push(Section {
                name: String::from_utf8_lossy(section.raw_name()).into_owned(),
                start,
                size: virtual_size.next_multiple_of(PAGE),
                characteristics: section.characteristics.get(LE),
            });
        }
        image.relocate(&parsed, bytes)?;
        image.bind(&parsed, bytes, resolve)?;
        image.protect()?;
        Ok(image)
    }

    fn relocate(&self, parsed: &PeFile64<'_>, bytes: &mut [u8]) -> Result<(), LoadError> {
        let delta =
            (self.base as u64).wrapping_sub(parsed.nt_headers().optional_header.image_base.get(LE));
        let blocks = parsed
            .data_directories()
            .relocation_blocks(parsed.data(), &parsed.section_table());
        let Some(mut blocks) = blocks.map_err(format)? else {
            return bad("the image has no base relocations");
        };
        while let Some(block) = blocks.next().map_err(format)? {
            for relocation in block {
                match relocation.typ {
                    pe::IMAGE_REL_BASED_ABSOLUTE => {}
                    pe::IMAGE_REL_BASED_DIR64 => {
                        let at = relocation.virtual_address as usize;
                        let Some(place) = bytes.get_mut(at..at.saturating_add(8)) else {
                            return bad("a relocation is outside of the image");
                        };
                        let place: &mut [u8; 8] = place.try_into().map_err(format)?;
                        *place = u64::from_le_bytes(*place).wrapping_add(delta).to_le_bytes();
                    }
                    other => return bad(format!("relocation type {other}")),
                }
            }
        }
        Ok(())
    }

    fn bind(
        &mut self,
        parsed: &PeFile64<'_>,
        bytes: &mut [u8],
        resolve: impl Fn(&str, &str) -> Option<*const ()>,
    ) -> Result<(), LoadError> {
        let Some(table) = parsed.import_table().map_err(format)? else {
            return Ok(());
        };
        let mut descriptors = table.descriptors().map_err(format)?;
        while let Some(descriptor) = descriptors.next().map_err(format)? {
            let dll = String::from_utf8_lossy(table.name(descriptor.name.get(LE)).map_err(format)?)
                .into_owned();
            let lookup = match descriptor.original_first_thunk.get(LE) {
                0 => descriptor.first_thunk.get(LE),
                lookup => lookup,
            };
            let mut thunks = table.thunks(lookup).map_err(format)?;
            let mut slot = descriptor.first_thunk.get(LE) as usize;
            while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>().map_err(format)? {
                let name = match table
                    .import::<pe::ImageNtHeaders64>(thunk)
                    .map_err(format)?
                {
                    Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
                    Import::Ordinal(ordinal) => format!("#{ordinal}"),
                };
                let Some(target) = resolve(&dll, &name) else {
                    return Err(LoadError::MissingImport {
                        image: self.name.clone(),
                        dll,
                        name,
                    });
                };
                let Some(place) = bytes.get_mut(slot..slot.saturating_add(8)) else {
                    return bad("the import address table is outside of the image");
                };
                place.copy_from_slice(&(target as u64).to_le_bytes());
                slot += 8;
                self.imports.push((dll.clone(), name));
            }
        }
        Ok(())
    }

    fn protect(&self) -> Result<(), LoadError> {
        self.set_protection(0, self.size, libc::PROT_READ)?;
        for section in &self.sections {
            let has = |flag| section.has(flag);
            let (write, execute) = (has(pe::IMAGE_SCN_MEM_WRITE), has(pe::IMAGE_SCN_MEM_EXECUTE));
            if write && execute {
                return bad(format!(
                    "section {} is writable and executable",
                    section.name
                ));
            }
            let read = if has(pe::IMAGE_SCN_MEM_READ) || write {
                libc::PROT_READ
            } else {
                libc::PROT_NONE
            };
            let flags = read
                | if write { libc::PROT_WRITE } else { 0 }
                | if execute { libc::PROT_EXEC } else { 0 };
            self.set_protection(section.start, section.size, flags)?;
        }
        Ok(())
    }

    fn set_protection(&self, start: usize, size: usize, flags: i32) -> Result<(), LoadError> {
        // SAFETY: pages of the image's own mapping.
        let r = unsafe { libc::mprotect((self.base + start) as *mut _, size, flags) };
        if r == 0 {
            Ok(())
        } else {
            bad("the host refused a section's protection")
        }
    }

    /// Makes the discardable sections inaccessible: on Windows INIT is gone
    /// once DriverEntry has returned.
    pub(super) fn discard_init(&self) {
        let discardable =
            |s: &&Section| s.has(pe::IMAGE_SCN_MEM_DISCARDABLE) && !s.name.starts_with(".reloc");
        for section in self.sections.iter().filter(discardable) {
            // The range is within the mapping, so the host has no reason to refuse.
            let _ = self.set_protection(section.start, section.size, libc::PROT_NONE);
        }
    }

    /// Address of the entry point.
    #[must_use]
    pub fn entry(&self) -> *const () {
        (self.base + self.entry) as *const ()
    }

    /// Address of the image.
    #[must_use]
    pub fn base(&self) -> usize {
        self.base
    }

    /// Mapped size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// What it imports: module and name.
    #[must_use]
    pub fn imports(&self) -> &[(String, String)] {
        &self.imports
    }

    /// Names of the sections with their addresses and sizes.
    pub fn sections(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.sections
            .iter()
            .map(|s| (s.name.trim_end_matches('\0'), self.base + s.start, s.size))
    }

    /// The RVA of an address within.
    pub(super) fn rva(&self, address: usize) -> Option<usize> {
        let rva = address.checked_sub(self.base)?;
        (rva < self.size).then_some(rva)
    }

    /// Its name, and the RVA of an address within.
    pub(super) fn locate(&self, address: usize) -> Option<(String, usize)> {
        Some((self.name.clone(), self.rva(address)?))
    }

    fn section_at(&self, rva: usize) -> Option<&Section> {
        self.sections
            .iter()
            .find(|s| (s.start..s.start + s.size).contains(&rva))
    }

    /// The rest of the section at an RVA, if it is one that stays readable.
    fn memory_at(&self, rva: u32) -> Option<&[u8]> {
        let rva = rva as usize;
        let section = self.section_at(rva)?;
        let kept = section.has(pe::IMAGE_SCN_MEM_READ)
            && !section.has(pe::IMAGE_SCN_MEM_DISCARDABLE)
            && !section.has(pe::IMAGE_SCN_MEM_WRITE);
        let len = section.start + section.size - rva;
        // SAFETY: mapped and readable for as long as the image is; nobody writes there.
        kept.then(|| unsafe { slice::from_raw_parts((self.base + rva) as *const u8, len) })
    }

    /// Takes the registers of `state` from a function of the image back to its caller; the
    /// result is where that goes on.
    pub(crate) fn unwind(&self, address: usize, mut state: impl UnwindState) -> Option<u64> {
        let rva = u32::try_from(self.rva(address)?).ok()?;
        let table = self.memory_at(u32::try_from(self.functions.start).ok()?)?;
        let table = FunctionTableEntries::parse(table.get(..self.functions.len())?);
        table.unwind_frame(&mut state, |rva| self.memory_at(rva), rva)
    }

    /// "name+0xRVA (section)" for an address within.
    pub(super) fn describe(&self, address: usize) -> Option<String> {
        let rva = self.rva(address)?;
        let section = self.section_at(rva);
        let section = section.map_or("headers", |s| s.name.trim_end_matches('\0'));
        Some(format!("{}+0x{rva:x} ({section})", self.name))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the mapping is the object's own and no code of it runs any more.
        unsafe { libc::munmap(self.base as *mut _, self.size) };
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at 0x{:x}, 0x{:x} bytes",
            self.name, self.base, self.size
        )
    }
}
