//! What a driver image must be, read from the finished file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use object::{
    LittleEndian as LE,
    pe::{
        IMAGE_DIRECTORY_ENTRY_BASERELOC, IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT,
        IMAGE_DIRECTORY_ENTRY_TLS, IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
        IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY, IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA,
        IMAGE_DLLCHARACTERISTICS_NX_COMPAT, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64,
        IMAGE_FILE_RELOCS_STRIPPED, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_WRITE,
        IMAGE_SUBSYSTEM_NATIVE, ImageNtHeaders64,
    },
    read::pe::{ImageNtHeaders, ImageOptionalHeader, Import, PeFile64},
};

use super::{
    Arch, KMDF,
    allowlist::{self, Library},
};

/// What a good image is made of.
#[derive(Debug)]
pub struct Report {
    /// Bytes of the file.
    pub size: usize,
    /// The imported functions by module.
    pub imports: BTreeMap<String, Vec<String>>,
}

/// Checks the image against the rules; all that is wrong with it is in the error. `framework`: it is to bind
/// to KMDF.
///
/// # Errors
/// When the file is no PE32+ image, or breaks a rule.
pub fn check(bytes: &[u8], arch: Arch, allowed: &[Library], framework: bool) -> Result<Report> {
    let image = PeFile64::parse(bytes).context("it is no PE32+ image")?;
    let mut faults = header_faults(&image, arch);
    faults.extend(checksum_fault(&image, bytes));
    faults.extend(section_faults(&image));
    if framework && let Some(fault) = framework_fault(&image) {
        faults.push(fault);
    }
    let imports = imports(&image).context("its imports cannot be read")?;
    for (module, functions) in &imports {
        faults.extend(
            functions
                .iter()
                .filter_map(|function| allowlist::objection(allowed, module, function)),
        );
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(Report {
        size: bytes.len(),
        imports,
    })
}

fn header_faults(image: &PeFile64<'_>, arch: Arch) -> Vec<String> {
    let headers: &ImageNtHeaders64 = image.nt_headers();
    let file = headers.file_header();
    let optional = headers.optional_header();
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };

    let machine = match arch {
        Arch::X64 => IMAGE_FILE_MACHINE_AMD64,
        Arch::Arm64 => IMAGE_FILE_MACHINE_ARM64,
    };
    must(
        file.machine.get(LE) == machine,
        "it is for another processor",
    );
    must(
        optional.subsystem() == IMAGE_SUBSYSTEM_NATIVE,
        "its subsystem is not native",
    );
    let flags = optional.dll_characteristics();
    must(
        flags.contains(IMAGE_DLLCHARACTERISTICS_NX_COMPAT),
        "it is not NX_COMPAT",
    );
    must(
        flags.contains(IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE),
        "it is not DYNAMIC_BASE",
    );
    must(
        flags.contains(IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA),
        "it is not HIGH_ENTROPY_VA",
    );
    must(
        flags.contains(IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY),
        "it does not ask for its signature to be checked (FORCE_INTEGRITY)",
    );
    must(
        !file
            .characteristics
            .get(LE)
            .contains(IMAGE_FILE_RELOCS_STRIPPED)
            && has_directory(image, IMAGE_DIRECTORY_ENTRY_BASERELOC),
        "it has no relocations",
    );
    must(
        !has_directory(image, IMAGE_DIRECTORY_ENTRY_TLS),
        "it has thread-local storage, which the kernel's loader does not know",
    );
    must(
        !has_directory(image, IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT),
        "it has delay-loaded imports, which the kernel's loader does not know",
    );
    faults
}

fn has_directory(image: &PeFile64<'_>, index: usize) -> bool {
    image.data_directory(index).is_some()
}

fn checksum_fault(image: &PeFile64<'_>, bytes: &[u8]) -> Option<String> {
    let stored = image.nt_headers().optional_header().check_sum();
    let computed = checksum(bytes, checksum_place(image));
    (stored != computed).then(|| format!("its checksum is {stored:#x} and should be {computed:#x}"))
}

/// Where the file has its checksum.
pub fn checksum_place(image: &PeFile64<'_>) -> usize {
    // Signature, file header, then 64 bytes into the optional header.
    image.dos_header().nt_headers_offset() as usize + 4 + 20 + 64
}

/// The checksum that the system's loader verifies for drivers: the sum of the file's 16-bit words, that of
/// the checksum field at `field` left out, with the carries added back, plus the length.
pub fn checksum(bytes: &[u8], field: usize) -> u32 {
    let mut sum = 0_u32;
    for (index, word) in bytes.chunks(2).enumerate() {
        if (field..field + 4).contains(&(index * 2)) {
            continue;
        }
        let low = u32::from(word[0]);
        let high = word.get(1).map_or(0, |byte| u32::from(*byte));
        sum += low | high << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum.wrapping_add(bytes.len() as u32)
}

fn section_faults(image: &PeFile64<'_>) -> Vec<String> {
    let entry = image
        .nt_headers()
        .optional_header()
        .address_of_entry_point();
    let mut faults = Vec::new();
    let mut entry_is_code = false;
    for section in image.section_table().iter() {
        let name = String::from_utf8_lossy(section.raw_name());
        let flags = section.characteristics.get(LE);
        let executable = flags.contains(IMAGE_SCN_MEM_EXECUTE);
        if executable && flags.contains(IMAGE_SCN_MEM_WRITE) {
            faults.push(format!(
                "its section {name} is both writable and executable"
            ));
        }
        let start = section.virtual_address.get(LE);
        let holds_entry = entry
            .checked_sub(start)
            .is_some_and(|offset| offset < section.virtual_size.get(LE));
        entry_is_code |= executable && holds_entry;
    }
    if !entry_is_code {
        faults.push("its entry point is not in an executable section".into());
    }
    faults
}

const COMPONENT: &str = "KmdfLibrary";

/// Looks for the structure by which the KMDF entry code asks for the framework (WDF_BIND_INFO: size, name,
/// version), as the WDK's entry code and the stand-in both have it in their data.
fn framework_fault(image: &PeFile64<'_>) -> Option<String> {
    let base = image.nt_headers().optional_header().image_base();
    let name: Vec<u8> = COMPONENT
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let is_name = |address: u64| {
        let address = address
            .checked_sub(base)
            .and_then(|a| u32::try_from(a).ok());
        address
            .and_then(|address| image.section_table().pe_data_at(image.data(), address))
            .is_some_and(|data| data.starts_with(&name))
    };
    for section in image.section_table().iter() {
        let data = section.pe_data(image.data()).unwrap_or_default();
        for place in data.windows(24).step_by(8) {
            let word = |at: usize| {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&place[at..at + 4]);
                u32::from_le_bytes(bytes)
            };
            let pointer = u64::from(word(8)) | u64::from(word(12)) << 32;
            if matches!(word(0), 48 | 88) && is_name(pointer) {
                let version = (word(16), word(20));
                return (version != KMDF).then(|| {
                    format!(
                        "it asks for KMDF {}.{}, not {}.{}",
                        version.0, version.1, KMDF.0, KMDF.1
                    )
                });
            }
        }
    }
    Some("it does not bind to KMDF".into())
}

fn imports(image: &PeFile64<'_>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    let Some(table) = image.import_table()? else {
        return Ok(found);
    };
    let mut modules = table.descriptors()?;
    while let Some(module) = modules.next()? {
        let name = String::from_utf8_lossy(table.name(module.name.get(LE))?).into_owned();
        let mut thunks = table.thunks(module.original_first_thunk.get(LE))?;
        let functions: &mut Vec<String> = found.entry(name).or_default();
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            functions.push(match table.import::<ImageNtHeaders64>(thunk)? {
                Import::Ordinal(ordinal) => format!("#{ordinal}"),
                Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
            });
        }
        functions.sort();
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
