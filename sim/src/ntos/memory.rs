//! The leaf functions that the compiler calls on its own: memcpy and its kin
//! and the stack probe. They run on the driver's stack without a thunk, so they
//! use only what the x64 convention calls volatile, and no extended state.

use std::arch::naked_asm;

use crate::exports::{Export, NTOSKRNL};

/// memcpy and memmove: overlapping ranges are allowed, as in ntoskrnl.
#[unsafe(naked)]
unsafe extern "efiapi" fn memmove(_to: *mut u8, _from: *const u8, _n: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rcx",
        "2: cmp r8, 16",
        "jb 5f",
        "cmp r8, 32",
        "ja 3f",
        "movups xmm0, [rdx]",
        "movups xmm1, [rdx + r8 - 16]",
        "movups [rcx], xmm0",
        "movups [rcx + r8 - 16], xmm1",
        "ret",
        "3: mov r9, rcx",
        "sub r9, rdx",
        "cmp r9, r8",
        "jb 4f",
        "mov r9, rdi",
        "mov r10, rsi",
        "mov rdi, rcx",
        "mov rsi, rdx",
        "mov rcx, r8",
        "rep movsb",
        "mov rdi, r9",
        "mov rsi, r10",
        "ret",
        // The target overlaps the source from above: from the end.
        "4: movups xmm0, [rdx + r8 - 16]",
        "movups [rcx + r8 - 16], xmm0",
        "sub r8, 16",
        "cmp r8, 32",
        "ja 4b",
        "jmp 2b",
        "5: cmp r8, 8",
        "jb 6f",
        "mov r9, [rdx]",
        "mov r10, [rdx + r8 - 8]",
        "mov [rcx], r9",
        "mov [rcx + r8 - 8], r10",
        "ret",
        "6: cmp r8, 4",
        "jb 7f",
        "mov r9d, [rdx]",
        "mov r10d, [rdx + r8 - 4]",
        "mov [rcx], r9d",
        "mov [rcx + r8 - 4], r10d",
        "ret",
        "7: test r8, r8",
        "jz 8f",
        "movzx r9d, byte ptr [rdx]",
        "movzx r10d, byte ptr [rdx + r8 - 1]",
        "mov r11, r8",
        "shr r11, 1",
        "movzx edx, byte ptr [rdx + r11]",
        "mov [rcx], r9b",
        "mov [rcx + r11], dl",
        "mov [rcx + r8 - 1], r10b",
        "8: ret",
    )
}

#[unsafe(naked)]
unsafe extern "efiapi" fn memset(_to: *mut u8, _value: i32, _n: usize) -> *mut u8 {
    naked_asm!(
        "mov r9, rdi",
        "mov r10, rcx",
        "mov rdi, rcx",
        "movzx eax, dl",
        "mov rcx, r8",
        "rep stosb",
        "mov rdi, r9",
        "mov rax, r10",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "efiapi" fn memcmp(_a: *const u8, _b: *const u8, _n: usize) -> i32 {
    naked_asm!(
        "2: cmp r8, 8",
        "jb 3f",
        "mov rax, [rcx]",
        "mov r9, [rdx]",
        "cmp rax, r9",
        "jne 5f",
        "add rcx, 8",
        "add rdx, 8",
        "sub r8, 8",
        "jmp 2b",
        "3: test r8, r8",
        "jz 4f",
        "movzx eax, byte ptr [rcx]",
        "movzx r9d, byte ptr [rdx]",
        "cmp eax, r9d",
        "jne 6f",
        "inc rcx",
        "inc rdx",
        "dec r8",
        "jmp 3b",
        "4: xor eax, eax",
        "ret",
        "5: bswap rax",
        "bswap r9",
        "cmp rax, r9",
        "6: sbb eax, eax",
        "or eax, 1",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "efiapi" fn strlen(_s: *const u8) -> usize {
    naked_asm!(
        "mov rax, rcx",
        "2: cmp byte ptr [rax], 0",
        "je 3f",
        "inc rax",
        "jmp 2b",
        "3: sub rax, rcx",
        "ret",
    )
}

/// Touches each page of a frame of rax bytes below the caller's stack pointer,
/// in order, and its last byte, so that the use of stack is seen exactly.
/// Changes no register but the flags.
#[unsafe(naked)]
unsafe extern "efiapi" fn chkstk() {
    naked_asm!(
        "push r10",
        "push r11",
        "lea r11, [rsp + 24]",
        "mov r10, r11",
        "sub r10, rax",
        "jae 2f",
        "xor r10d, r10d",
        "2: and r11, -4096",
        "3: cmp r11, r10",
        "jbe 4f",
        "lea r11, [r11 - 4096]",
        "cmp r11, r10",
        "jbe 4f",
        "mov byte ptr [r11], 0",
        "jmp 3b",
        "4: lea r11, [rsp]",
        "cmp r10, r11",
        "jae 5f",
        "mov byte ptr [r10], 0",
        "5: pop r11",
        "pop r10",
        "ret",
    )
}

pub(super) fn exports() -> Vec<Export> {
    let e = |name, f, arity| Export::new(NTOSKRNL, name, f, arity).direct();
    vec![
        e("memcpy", memmove as *const (), 3),
        e("memmove", memmove as *const (), 3),
        e("memset", memset as *const (), 3),
        e("memcmp", memcmp as *const (), 3),
        e("strlen", strlen as *const (), 1),
        e("__chkstk", chkstk as *const (), 0),
    ]
}
