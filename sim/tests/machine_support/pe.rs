//! A kernel-mode image made by hand: a DriverEntry that prints and sets
//! DriverUnload, with sections, relocations and one import to vary.

/// What to vary.
pub struct Pe {
    /// The function that is imported from ntoskrnl.exe and called with `MESSAGE`.
    pub import: &'static str,
    /// Machine code of DriverUnload.
    pub unload: Vec<u8>,
    /// Characteristics of the code section.
    pub text: u32,
    pub machine: u16,
    pub subsystem: u16,
    pub relocation: u16,
}

/// What the image prints.
pub const MESSAGE: &str = "hello from an image";

pub const UNLOAD: u32 = 0x1100;
pub const INIT: u32 = 0x4000;
pub const RDATA: u32 = 0x2000;
const TEXT: u32 = 0x1000;
const DATA: u32 = 0x3000;
const RELOC: u32 = 0x5000;
const BASE: u64 = 0x1_4000_0000;
const IAT: u32 = RDATA + 0x40;
const RX: u32 = 0x6000_0020;
const R: u32 = 0x4000_0040;
const RW: u32 = 0xC000_0040;
const DISCARDABLE: u32 = 0x0200_0000;
pub const RWX: u32 = 0xE000_0020;

impl Default for Pe {
    fn default() -> Self {
        Self {
            import: "DbgPrint",
            unload: vec![0xC3],
            text: RX,
            machine: 0x8664,
            subsystem: 1,
            relocation: 10,
        }
    }
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A rel32 operand at `at` (an RVA) that reaches `to`.
pub fn relative(at: u32, to: u32) -> [u8; 4] {
    to.wrapping_sub(at + 4).to_le_bytes()
}

impl Pe {
    pub fn build(&self) -> Vec<u8> {
        // Laid out as it is mapped, then cut into sections of one page.
        let mut map = vec![0u8; 0x6000];
        let mut code = vec![0x53, 0x48, 0x83, 0xEC, 0x20, 0x48, 0x89, 0xCB];
        let operand = |code: &mut Vec<u8>, opcode: &[u8], to: u32| {
            code.extend_from_slice(opcode);
            let at = TEXT + code.len() as u32;
            code.extend_from_slice(&relative(at, to));
        };
        operand(&mut code, &[0x48, 0x8B, 0x0D], DATA); // mov rcx, [message]
        operand(&mut code, &[0xFF, 0x15], IAT); // call [import]
        operand(&mut code, &[0x48, 0x8D, 0x05], UNLOAD); // lea rax, [unload]
        code.extend_from_slice(&[0x48, 0x89, 0x43, 0x68]); // DriverUnload = rax
        operand(&mut code, &[0xE8], INIT); // call init
        code.extend_from_slice(&[0x48, 0x83, 0xC4, 0x20, 0x5B, 0xC3]);
        put(&mut map, TEXT as usize, &code);
        put(&mut map, UNLOAD as usize, &self.unload);
        put(&mut map, INIT as usize, &[0x31, 0xC0, 0xC3]); // xor eax, eax; ret
        // Import directory, lookup table, IAT, names, the message.
        let r = RDATA as usize;
        let words = |w: [u32; 5]| w.map(u32::to_le_bytes).concat();
        put(&mut map, r, &words([RDATA + 0x30, 0, 0, RDATA + 0x80, IAT]));
        for table in [0x30, 0x40] {
            put(&mut map, r + table, &u64::from(RDATA + 0x60).to_le_bytes());
        }
        put(&mut map, r + 0x62, self.import.as_bytes());
        put(&mut map, r + 0x80, b"ntoskrnl.exe");
        put(&mut map, r + 0xA0, MESSAGE.as_bytes());
        // The pointer that is relocated.
        put(
            &mut map,
            DATA as usize,
            &(BASE + u64::from(RDATA) + 0xA0).to_le_bytes(),
        );
        let block = [DATA.to_le_bytes(), 12u32.to_le_bytes()].concat();
        put(&mut map, RELOC as usize, &block);
        put(
            &mut map,
            RELOC as usize + 8,
            &(self.relocation << 12).to_le_bytes(),
        );

        let mut file = vec![0u8; 0x400];
        put(&mut file, 0, b"MZ");
        put(&mut file, 0x3C, &0x40u32.to_le_bytes());
        put(&mut file, 0x40, b"PE\0\0");
        put(&mut file, 0x44, &self.machine.to_le_bytes());
        put(&mut file, 0x46, &5u16.to_le_bytes());
        put(&mut file, 0x54, &240u16.to_le_bytes());
        put(&mut file, 0x56, &0x22u16.to_le_bytes());
        let optional = 0x58;
        let mut set = |at: usize, bytes: &[u8]| put(&mut file, optional + at, bytes);
        set(0, &0x20Bu16.to_le_bytes());
        set(16, &TEXT.to_le_bytes());
        set(24, &BASE.to_le_bytes());
        set(32, &0x1000u32.to_le_bytes());
        set(36, &0x200u32.to_le_bytes());
        set(56, &0x6000u32.to_le_bytes());
        set(60, &0x400u32.to_le_bytes());
        set(68, &self.subsystem.to_le_bytes());
        set(108, &16u32.to_le_bytes());
        set(
            112 + 8,
            &[RDATA.to_le_bytes(), 0x28u32.to_le_bytes()].concat(),
        );
        set(
            112 + 40,
            &[RELOC.to_le_bytes(), 12u32.to_le_bytes()].concat(),
        );
        let sections = [
            (".text", TEXT, self.text),
            (".rdata", RDATA, R),
            (".data", DATA, RW),
            ("INIT", INIT, RX | DISCARDABLE),
            (".reloc", RELOC, R | DISCARDABLE),
        ];
        for (i, (name, at, characteristics)) in sections.into_iter().enumerate() {
            let header = optional + 240 + i * 40;
            let raw = 0x400 + i as u32 * 0x1000;
            put(&mut file, header, name.as_bytes());
            put(
                &mut file,
                header + 8,
                &words([0x1000, at, 0x1000, raw, 0])[..16],
            );
            put(&mut file, header + 36, &characteristics.to_le_bytes());
        }
        for (_, at, _) in sections {
            file.extend_from_slice(&map[at as usize..at as usize + 0x1000]);
        }
        file
    }
}
