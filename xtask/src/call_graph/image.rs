//! The parts of an x64 image that say how deep its stack gets: unwind information, imports, and pointers to
//! code in data.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use object::{
    LittleEndian as LE, pe,
    read::pe::{Import, PeFile64},
};

/// An address within the image.
pub type Rva = u32;

/// A function: its pieces (the compiler may put cold code elsewhere) and its frame.
#[derive(Debug, Default)]
pub struct Function {
    /// Start and end of each piece.
    pub pieces: Vec<(Rva, Rva)>,
    /// Bytes that its prologue takes off the stack: pushes and locals. The return address is not in it.
    pub frame: usize,
}

/// An image as it is mapped.
pub struct Image {
    bytes: Vec<u8>,
    /// By first address. Functions that touch neither stack nor preserved registers have no unwind
    /// information and are not here.
    pub functions: BTreeMap<Rva, Function>,
    /// Start and end of each piece of a function, and the function's own address; ascending.
    pieces: Vec<(Rva, Rva, Rva)>,
    /// By the address of the pointer that is called through.
    pub imports: BTreeMap<Rva, String>,
    /// The methods of Rust's trait objects: for each method's place in a table all functions that are there.
    pub methods: BTreeMap<usize, BTreeSet<Rva>>,
}

impl Image {
    /// Reads a file.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let parsed = PeFile64::parse(file).context("not a PE image for 64 bits")?;
        let headers = parsed.nt_headers();
        if headers.file_header.machine.get(LE) != pe::IMAGE_FILE_MACHINE_AMD64 {
            bail!("the unwind information of x64 is read, and no other");
        }
        let mut bytes = vec![0; headers.optional_header.size_of_image.get(LE) as usize];
        for section in parsed.section_table().iter() {
            let data = section.pe_data(file)?;
            let start = section.virtual_address.get(LE) as usize;
            let length = data.len().min(section.virtual_size.get(LE) as usize);
            bytes
                .get_mut(start..start + length)
                .context("a section is outside of the image")?
                .copy_from_slice(&data[..length]);
        }
        let mut image = Self {
            bytes,
            functions: BTreeMap::new(),
            pieces: Vec::new(),
            imports: BTreeMap::new(),
            methods: BTreeMap::new(),
        };
        image.read_functions(&parsed)?;
        image.read_imports(&parsed)?;
        let base = headers.optional_header.image_base.get(LE);
        let pointers = image.pointers(&parsed, base)?;
        image.read_methods(&pointers);
        Ok(image)
    }

    /// The bytes from one address to another.
    pub fn code(&self, start: Rva, end: Rva) -> &[u8] {
        let end = (end as usize).min(self.bytes.len());
        self.bytes.get(start as usize..end).unwrap_or_default()
    }

    /// The function that the code at an address belongs to.
    pub fn function_at(&self, rva: Rva) -> Option<Rva> {
        let index = self.pieces.partition_point(|(start, ..)| *start <= rva);
        let (_, end, function) = *self.pieces.get(index.checked_sub(1)?)?;
        (rva < end).then_some(function)
    }

    fn u16(&self, at: usize) -> Result<u16> {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes
            .map(|bytes| u16::from_le_bytes(*bytes))
            .context("a read outside of the image")
    }

    fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from(self.u16(at)?) | u32::from(self.u16(at + 2)?) << 16)
    }

    fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from(self.u32(at)?) | u64::from(self.u32(at + 4)?) << 32)
    }

    /// RUNTIME_FUNCTION: begin, end, unwind information.
    fn read_functions(&mut self, parsed: &PeFile64<'_>) -> Result<()> {
        let directory = parsed
            .data_directories()
            .get(pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION)
            .context("the image has no unwind information")?;
        let table = directory.virtual_address.get(LE) as usize;
        for at in (table..table + directory.size.get(LE) as usize).step_by(12) {
            let (start, end) = (self.u32(at)?, self.u32(at + 4)?);
            let (function, frame) = self.unwind(start, self.u32(at + 8)?)?;
            self.pieces.push((start, end, function));
            let entry = self.functions.entry(function).or_default();
            entry.pieces.push((start, end));
            entry.frame = entry.frame.max(frame);
        }
        self.pieces.sort_unstable();
        Ok(())
    }

    /// UNWIND_INFO ("x64 exception handling"): the bytes that the prologue takes, and the function that a
    /// piece was cut off from.
    fn unwind(&self, start: Rva, info: u32) -> Result<(Rva, usize)> {
        const CHAINED: u8 = 4;
        let (mut function, mut info, mut frame) = (start, info as usize, 0);
        // Chains are short; a longer one is a circle.
        for _ in 0..8 {
            let [version_flags, _, count, _] = self.u32(info)?.to_le_bytes();
            let codes = info + 4;
            let mut slot = 0;
            while slot < usize::from(count) {
                let at = codes + slot * 2;
                let [_, operation] = self.u16(at)?.to_le_bytes();
                let (operation, operand) = (operation & 15, usize::from(operation >> 4));
                let (bytes, slots) = match (operation, operand) {
                    // PUSH_NONVOL, ALLOC_LARGE in two forms, ALLOC_SMALL.
                    (0, _) => (8, 1),
                    (1, 0) => (usize::from(self.u16(at + 2)?) * 8, 2),
                    (1, _) => (self.u32(at + 2)? as usize, 3),
                    (2, _) => (operand * 8 + 8, 1),
                    // SET_FPREG; SAVE_NONVOL and SAVE_XMM128, near and far; PUSH_MACHFRAME.
                    (3, _) => (0, 1),
                    (4 | 8, _) => (0, 2),
                    (5 | 9, _) => (0, 3),
                    (10, with_error) => (40 + with_error * 8, 1),
                    _ => bail!("unwind operation {operation} in the function at {start:#x}"),
                };
                frame += bytes;
                slot += slots;
            }
            if version_flags >> 3 & CHAINED == 0 {
                return Ok((function, frame));
            }
            let chained = codes + usize::from(count).next_multiple_of(2) * 2;
            (function, info) = (self.u32(chained)?, self.u32(chained + 8)? as usize);
        }
        bail!("the unwind information of {start:#x} has no end")
    }

    fn read_imports(&mut self, parsed: &PeFile64<'_>) -> Result<()> {
        let Some(table) = parsed.import_table()? else {
            return Ok(());
        };
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
            let mut slot = descriptor.first_thunk.get(LE);
            while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
                if let Import::Name(_, name) = table.import::<pe::ImageNtHeaders64>(thunk)? {
                    self.imports
                        .insert(slot, String::from_utf8_lossy(name).into_owned());
                }
                slot += 8;
            }
        }
        Ok(())
    }

    /// All pointers in the image's data, by where they are.
    fn pointers(&self, parsed: &PeFile64<'_>, base: u64) -> Result<BTreeMap<usize, Rva>> {
        let mut pointers = BTreeMap::new();
        let blocks = parsed
            .data_directories()
            .relocation_blocks(parsed.data(), &parsed.section_table())?;
        let mut blocks = blocks.context("the image has no base relocations")?;
        while let Some(block) = blocks.next()? {
            for relocation in block.filter(|it| it.typ == pe::IMAGE_REL_BASED_DIR64) {
                let at = relocation.virtual_address as usize;
                let target = self.u64(at)?.wrapping_sub(base);
                pointers.insert(at, Rva::try_from(target)?);
            }
        }
        Ok(pointers)
    }

    /// A table of methods: drop glue or null, size, alignment, then the methods.
    fn read_methods(&mut self, pointers: &BTreeMap<usize, Rva>) {
        let is_code = |rva: &Rva| self.function_at(*rva) == Some(*rva) || self.is_thin_code(*rva);
        let mut methods: BTreeMap<usize, BTreeSet<Rva>> = BTreeMap::new();
        for at in pointers.keys() {
            // `at` would be the first method.
            let Some(header) = at.checked_sub(24) else {
                continue;
            };
            let number = |at: usize| {
                let number = self.u64(at).ok().filter(|_| !pointers.contains_key(&at));
                number.filter(|number| *number < 1 << 20)
            };
            let drop = pointers.get(&header).filter(|rva| is_code(rva));
            let (size, align) = (number(header + 8), number(header + 16));
            let is_table = (drop.is_some() || number(header) == Some(0))
                && size.is_some()
                && align.is_some_and(u64::is_power_of_two);
            if !is_table {
                continue;
            }
            methods.entry(0).or_default().extend(drop);
            let mut place = 24;
            while let Some(method) = pointers.get(&(header + place)).filter(|rva| is_code(rva)) {
                methods.entry(place).or_default().insert(*method);
                place += 8;
            }
        }
        self.methods = methods;
    }

    /// Code without unwind information is in the gaps between functions.
    fn is_thin_code(&self, rva: Rva) -> bool {
        let (first, last) = (self.pieces.first(), self.pieces.last());
        first.zip(last).is_some_and(|(first, last)| {
            (first.0..last.1).contains(&rva) && self.function_at(rva).is_none()
        })
    }

    /// An image of functions: start, end, frame and code of each.
    #[cfg(test)]
    pub fn for_test(size: usize, functions: &[(Rva, Rva, usize, &[u8])]) -> Self {
        let mut image = Self {
            bytes: vec![0xCC; size],
            functions: BTreeMap::new(),
            pieces: Vec::new(),
            imports: BTreeMap::new(),
            methods: BTreeMap::new(),
        };
        for (start, end, frame, code) in functions {
            image.bytes[*start as usize..*end as usize].copy_from_slice(code);
            let function = Function {
                pieces: vec![(*start, *end)],
                frame: *frame,
            };
            image.functions.insert(*start, function);
            image.pieces.push((*start, *end, *start));
        }
        image
    }
}
