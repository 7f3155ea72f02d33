//! A minimal good driver image, for tests of what looks at images.

/// Where the image keeps what the tests change.
pub const COFF: usize = 0x44;
pub const OPTIONAL: usize = COFF + 20;
const DIRECTORIES: usize = OPTIONAL + 112;
pub const SECTIONS: usize = DIRECTORIES + 16 * 8;
const HEADERS: usize = 0x400;
const BASE: u64 = 0x1_4000_0000;
/// File offset and address of the sections.
pub const TEXT: (usize, u32) = (0x400, 0x1000);
pub const RDATA: (usize, u32) = (0x600, 0x2000);
pub const DATA: (usize, u32) = (0x800, 0x3000);
const RELOC: (usize, u32) = (0xa00, 0x4000);
pub const SIZE: usize = 0xc00;
pub const CHECKSUM: usize = OPTIONAL + 64;
/// Where [`Image::debug_directory`] puts the GUID.
pub const GUID: usize = RDATA.0 + DEBUG_RECORD as usize + 4;
/// Within .rdata.
pub const THUNKS: u32 = 0x40;
pub const HINT_NAME: u32 = 0x60;
pub const MODULE: u32 = 0x80;
const COMPONENT_NAME: u32 = 0xa0;
const DEBUG: u32 = 0xc0;
const DEBUG_RECORD: u32 = 0x100;

/// An image in the making.
pub struct Image(pub Vec<u8>);

impl Image {
    fn set<const N: usize>(&mut self, at: usize, value: [u8; N]) -> &mut Self {
        self.0[at..at + N].copy_from_slice(&value);
        self
    }

    pub fn u16(&mut self, at: usize, value: u16) -> &mut Self {
        self.set(at, value.to_le_bytes())
    }

    pub fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.set(at, value.to_le_bytes())
    }

    pub fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.set(at, value.to_le_bytes())
    }

    pub fn text(&mut self, at: usize, value: &[u8]) -> &mut Self {
        self.0[at..at + value.len()].copy_from_slice(value);
        self
    }

    fn section(&mut self, index: usize, name: &[u8], place: (usize, u32), flags: u32) {
        let at = SECTIONS + index * 40;
        self.text(at, name)
            .u32(at + 8, 0x200)
            .u32(at + 12, place.1)
            .u32(at + 16, 0x200)
            .u32(at + 20, place.0 as u32)
            .u32(at + 36, flags);
    }

    pub fn directory(&mut self, index: usize, address: u32, size: u32) -> &mut Self {
        let at = DIRECTORIES + index * 8;
        self.u32(at, address).u32(at + 4, size)
    }

    /// One entry, which names a PDB with this GUID.
    pub fn debug_directory(&mut self, time: u32, guid: [u8; 16]) -> &mut Self {
        let entry = RDATA.0 + DEBUG as usize;
        let record = RDATA.0 + DEBUG_RECORD as usize;
        self.directory(6, RDATA.1 + DEBUG, 28)
            .u32(entry + 4, time)
            .u32(entry + 12, 2)
            .u32(entry + 16, 32)
            .u32(entry + 20, RDATA.1 + DEBUG_RECORD)
            .u32(entry + 24, record as u32)
            .text(record, b"RSDS")
            .set(record + 4, guid)
            .u32(record + 20, 1)
            .text(record + 24, b"x.pdb")
    }

    pub fn with_checksum(mut self) -> Vec<u8> {
        let sum = super::pe_check::checksum(&self.0, CHECKSUM);
        self.u32(CHECKSUM, sum);
        self.0
    }
}

/// One import (NdisMSleep from NDIS.SYS), one binding to KMDF 1.31, all flags as they should be.
pub fn good() -> Image {
    let mut image = Image(vec![0; SIZE]);
    image.text(0, b"MZ").u32(0x3c, 0x40).text(0x40, b"PE\0\0");
    image
        .u16(COFF, 0x8664)
        .u16(COFF + 2, 4)
        .u16(COFF + 16, 240)
        .u16(COFF + 18, 0x22);
    image
        .u16(OPTIONAL, 0x20b)
        .u32(OPTIONAL + 16, TEXT.1 + 0x10)
        .u64(OPTIONAL + 24, BASE)
        .u32(OPTIONAL + 32, 0x1000)
        .u32(OPTIONAL + 36, 0x200)
        .u32(OPTIONAL + 56, 0x5000)
        .u32(OPTIONAL + 60, HEADERS as u32)
        .u16(OPTIONAL + 68, 1)
        .u16(OPTIONAL + 70, 0x20 | 0x40 | 0x80 | 0x100)
        .u32(OPTIONAL + 108, 16)
        .directory(1, RDATA.1, 40)
        .directory(5, RELOC.1, 12)
        .u32(RELOC.0 + 4, 12);
    image.section(0, b".text", TEXT, 0x6000_0020);
    image.section(1, b".rdata", RDATA, 0x4000_0040);
    image.section(2, b".data", DATA, 0xc000_0040);
    image.section(3, b".reloc", RELOC, 0x4200_0040);

    let rdata = RDATA.0;
    image
        .u32(rdata, RDATA.1 + THUNKS)
        .u32(rdata + 12, RDATA.1 + MODULE)
        .u32(rdata + 16, RDATA.1 + THUNKS)
        .u64(rdata + THUNKS as usize, u64::from(RDATA.1 + HINT_NAME))
        .text(rdata + HINT_NAME as usize + 2, b"NdisMSleep")
        .text(rdata + MODULE as usize, b"NDIS.SYS");
    for (index, unit) in "KmdfLibrary".encode_utf16().enumerate() {
        image.u16(rdata + COMPONENT_NAME as usize + index * 2, unit);
    }
    image
        .u32(DATA.0 + 8, 88)
        .u64(DATA.0 + 16, BASE + u64::from(RDATA.1 + COMPONENT_NAME))
        .u32(DATA.0 + 24, 1)
        .u32(DATA.0 + 28, 31);
    image
}
