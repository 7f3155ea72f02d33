use super::*;

/// Where the functions are whose code the tests write.
const A: Rva = 0x100;
const B: Rva = 0x200;
const C: Rva = 0x300;
const D: Rva = 0x320;
const E: Rva = 0x350;
const F: Rva = 0x360;

/// An image of functions with these frames and this code.
fn image(functions: &[(Rva, usize, &[u8])]) -> Image {
    let functions: Vec<_> = functions
        .iter()
        .map(|(start, frame, code)| (*start, start + code.len() as Rva, *frame, *code))
        .collect();
    Image::for_test(0x400, &functions)
}

/// `call` from an address to another.
fn call(at: Rva, to: Rva) -> Vec<u8> {
    [&[0xE8], &to.wrapping_sub(at + 5).to_le_bytes()[..]].concat()
}

fn graph(image: Image) -> Result<Graph> {
    Graph::new(image, &|rva| Some(format!("function_{rva:x}")))
}

#[test]
fn frames_and_return_addresses_add_up_along_the_deepest_way() {
    let (to_b, to_c) = (call(A, B), call(A + 5, C));
    let image = image(&[
        (A, 40, &[to_b, to_c, vec![0xC3]].concat()),
        (B, 100, &[0xC3]),
        (C, 1000, &[0xC3]),
    ]);
    let entries = graph(image).unwrap().entries().unwrap();
    assert_eq!(entries, [(40 + 8 + 1000 + 8, vec![A, C])]);
}

#[test]
fn a_jump_to_another_function_is_a_call() {
    // jmp B
    let jump = [&[0xE9][..], &(B - A - 5).to_le_bytes()].concat();
    let image = image(&[(A, 0, &jump), (B, 100, &[0xC3])]);
    assert_eq!(
        graph(image).unwrap().entries().unwrap(),
        [(116, vec![A, B])]
    );
}

#[test]
fn recursion_has_no_depth() {
    let (to_b, to_a) = (call(A, B), call(B, A));
    let image = image(&[(A, 8, &to_b), (B, 8, &to_a)]);
    let error = graph(image).unwrap().entries().unwrap_err().to_string();
    assert!(error.contains("function_100, function_200"), "{error}");
}

#[test]
fn a_method_is_every_method_at_its_place() {
    // call [rcx+20h]
    let mut image = image(&[
        (A, 0, &[0xFF, 0x51, 0x20, 0xC3]),
        (B, 8, &[0xC3]),
        (C, 800, &[0xC3]),
    ]);
    image.methods.insert(0x18, BTreeSet::from([C]));
    image.methods.insert(0x20, BTreeSet::from([B]));
    let entries = graph(image).unwrap().entries().unwrap();
    assert_eq!(entries[1], (24, vec![A, B]));
}

#[test]
fn a_pointer_from_nowhere_is_an_error() {
    // call rcx
    let error = graph(image(&[(A, 0, &[0xFF, 0xD1, 0xC3])])).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("function_100 calls through a pointer"),
        "{error}"
    );
    // call [rsp+20h]
    assert!(graph(image(&[(A, 0, &[0xFF, 0x54, 0x24, 0x20, 0xC3])])).is_err());
}

#[test]
fn the_arms_of_a_match_are_its_own() {
    // movsxd rax, [rcx+rax*4]; add rax, rcx; jmp rax
    let code = [0x48, 0x63, 0x04, 0x81, 0x48, 0x01, 0xC8, 0xFF, 0xE0];
    assert_eq!(
        graph(image(&[(A, 16, &code)])).unwrap().entries().unwrap(),
        [(24, vec![A])]
    );
}

#[test]
fn frames_are_read_from_unwind_information() {
    use crate::build::test_image::{self, RDATA, TEXT};

    let mut file = test_image::good();
    let info = 0x180;
    let at = RDATA.0 + info as usize;
    // Two functions: one pushes two registers and takes 0x28 bytes; the other is a piece of it and takes
    // 0x1008 more.
    let table = RDATA.0 + 0x140;
    file.directory(3, RDATA.1 + 0x140, 24)
        .u32(table, TEXT.1)
        .u32(table + 4, TEXT.1 + 0x20)
        .u32(table + 8, RDATA.1 + info)
        .u32(table + 12, TEXT.1 + 0x40)
        .u32(table + 16, TEXT.1 + 0x60)
        .u32(table + 20, RDATA.1 + info + 0x20)
        .text(at, &[1, 6, 3, 0, 6, 0x42, 2, 0x30, 1, 0x60])
        .text(at + 0x20, &[1 | 4 << 3, 7, 2, 0, 7, 0x01])
        .u16(at + 0x26, 0x1008 / 8)
        .u32(at + 0x28, TEXT.1)
        .u32(at + 0x2c, TEXT.1 + 0x20)
        .u32(at + 0x30, RDATA.1 + info);
    let image = Image::parse(&file.with_checksum()).unwrap();
    assert_eq!(image.functions.len(), 1);
    let function = &image.functions[&TEXT.1];
    assert_eq!(function.frame, 16 + 0x28 + 0x1008);
    assert_eq!(function.pieces.len(), 2);
    assert_eq!(image.function_at(TEXT.1 + 0x41), Some(TEXT.1));
    assert_eq!(image.function_at(TEXT.1 + 0x20), None);
    assert!(image.imports.values().any(|name| name == "NdisMSleep"));
}

/// Functions A to D are the entries of packets; A also does what `code` says.
fn packets(code: &[u8], more: &[(Rva, &str)]) -> Graph {
    let functions = [
        (A, 0, code),
        (B, 0, &[0xC3]),
        (C, 0, &[0xC3]),
        (D, 0, &[0xC3]),
        (E, 0, &[0xC3]),
        (F, 0, &[0xC3]),
        (0x340, 0, &[0xC3]),
    ];
    let mut image = image(&functions);
    image
        .imports
        .extend(more.iter().map(|(at, name)| (*at, (*name).to_owned())));
    let names = |rva| {
        let name = match rva {
            A => "ipsecov2::handlers::send_net_buffer_lists()",
            B => "ipsecov2::handlers::return_net_buffer_lists()",
            C => "ipsecov2::adapter::init::send_dpc()",
            D => "ipsecov2::adapter::init::receive_dpc()",
            E => "ipsecov2::adapter::init::send_work_item()",
            F => "ipsecov2::adapter::init::receive_work_item()",
            _ => "ipsec::sa::select::build()",
        };
        Some(name.to_owned())
    };
    Graph::new(image, &names).unwrap()
}

#[test]
fn a_packet_that_allocates_is_found() {
    // call [0x380]
    let code = [
        &[0xFF, 0x15][..],
        &(0x380_u32 - A - 6).to_le_bytes(),
        &[0xC3],
    ]
    .concat();
    assert_eq!(
        packet_path::check(&packets(&code, &[(0x380, "KeGetCurrentIrql")])).unwrap(),
        6
    );
    let error = packet_path::check(&packets(&code, &[(0x380, "ExAllocatePool2")])).unwrap_err();
    assert!(
        error.to_string().contains("calls ExAllocatePool2"),
        "{error}"
    );
}

#[test]
fn a_packet_that_goes_to_who_knows_where_is_found() {
    // call [0x380], a variable
    let code = [
        &[0xFF, 0x15][..],
        &(0x380_u32 - A - 6).to_le_bytes(),
        &[0xC3],
    ]
    .concat();
    let error = packet_path::check(&packets(&code, &[])).unwrap_err();
    assert!(error.to_string().contains("a variable"), "{error}");
}

#[test]
fn stack_beyond_the_limit_is_found() {
    let of = |frame| graph(image(&[(A, frame, &[0xC3])])).unwrap();
    assert!(stack::check(&of(stack::LIMIT - 8)).is_ok());
    let error = stack::check(&of(stack::LIMIT)).unwrap_err().to_string();
    assert!(error.contains("function_100 may use"), "{error}");
}

#[test]
fn a_stack_of_keys_that_is_not_wiped_whole_is_found() {
    let of = |wiped| {
        let image = image(&[(A, 600, &[0xC3]), (B, wiped, &[0xC3])]);
        let names = |rva| {
            Some(match rva {
                A => "ipsec::engine::Engine::set_up()".to_owned(),
                _ => "ipsec::engine::wipe_stack()".to_owned(),
            })
        };
        stack::check_wiping(&Graph::new(image, &names).unwrap())
    };
    assert!(of(608).is_ok());
    let error = of(600).unwrap_err().to_string();
    assert!(error.contains("608 bytes of stack"), "{error}");
}

#[test]
fn a_packet_that_asks_for_an_algorithm_is_found() {
    let error = packet_path::check(&packets(&call(A, 0x340), &[])).unwrap_err();
    assert!(error.to_string().contains("ipsec::sa::select"), "{error}");
}

#[test]
fn entries_of_packets_that_are_gone_are_noticed() {
    let graph = graph(image(&[(A, 0, &[0xC3])])).unwrap();
    assert!(packet_path::check(&graph).is_err());
}

/// What holds an algorithm's name can ask for it. Beside the code for adding an SA it is the report of what the
/// adapter can do.
#[test]
fn algorithms_are_named_only_where_sas_are_made() {
    const MAY: [&str; 7] = [
        "driver/ipsec/src/lib.rs",
        "driver/ipsec/src/sa/capabilities.rs",
        "driver/ipsec/src/sa/params.rs",
        "driver/ipsec/src/sa/select.rs",
        "driver/oid-buffers/src/algorithm.rs",
        "driver/oid-buffers/src/association.rs",
        "driver/src/offload/report.rs",
    ];
    let mut named = Vec::new();
    for sources in ["driver/ipsec/src", "driver/oid-buffers/src", "driver/src"] {
        let mut left = vec![crate::paths::root().join(sources)];
        while let Some(folder) = left.pop() {
            for entry in fsutil::entries(&folder).unwrap() {
                if entry.is_dir() {
                    left.push(entry);
                    continue;
                }
                let text = fsutil::read_text(&entry).unwrap();
                if text.contains("EncryptionAlgorithm") || text.contains("AuthenticationAlgorithm")
                {
                    let name = entry.strip_prefix(crate::paths::root()).unwrap();
                    named.push(name.to_str().unwrap().to_owned());
                }
            }
        }
    }
    named.sort();
    assert_eq!(named, MAY);
}
