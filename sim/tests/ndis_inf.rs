//! The INF parser, on the driver's own INF and on broken ones.

use std::path::Path;

use ndis_sim::inf::{Inf, RegValue, lookup};

fn own() -> Inf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/ipsecov2.inx");
    Inf::load(&path).unwrap()
}

#[test]
fn the_drivers_inf_gives_its_defaults() {
    let install = own().install("ROOT\\IPsecOV2").unwrap();
    assert_eq!(install.service, "ipsecov2");
    assert_eq!(install.binary, "ipsecov2.sys");
    assert_eq!(install.kmdf, Some((1, 33)));
    assert_eq!(
        install.description,
        "IPsec Offload v2 Virtual Ethernet Adapter"
    );
    let sz = |s: &str| Some(RegValue::Sz(s.to_owned()));
    for (name, value) in [
        ("*IPsecOffloadV2", sz("3")),
        ("*IPsecOffloadV2IPv4", sz("3")),
        ("*JumboPacket", sz("1514")),
        ("*PriorityVLANTag", sz("3")),
        ("NetworkAddress", None),
        ("*IfType", Some(RegValue::Dword(6))),
        ("*MediaType", Some(RegValue::Dword(0))),
        ("*PhysicalMediaType", Some(RegValue::Dword(14))),
        ("Characteristics", Some(RegValue::Dword(0x81))),
    ] {
        assert_eq!(lookup(&install.adapter, name).cloned(), value, "{name}");
    }
    assert_eq!(
        lookup(&install.parameters, "NdisVersion"),
        Some(&RegValue::Dword(610))
    );
}

#[test]
fn the_advanced_page_is_the_documented_one() {
    // Enumeration Keywords: text, default and choices of each value.
    let install = own().install("root\\ipsecov2").unwrap();
    let param = |name: &str| {
        install
            .params
            .iter()
            .find(|p| p.name == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let ipsec = [
        "Disabled",
        "Auth Header Enabled",
        "ESP Enabled",
        "Auth Header & ESP Enabled",
    ];
    for (name, text) in [
        ("*IPsecOffloadV2", "IPsec Offload"),
        ("*IPsecOffloadV2IPv4", "IPsec Offload (IPv4 only)"),
    ] {
        let p = param(name);
        assert_eq!((p.description.as_str(), p.kind.as_str()), (text, "enum"));
        let choices: Vec<_> = p
            .choices
            .iter()
            .map(|(v, t)| (v.as_str(), t.as_str()))
            .collect();
        assert_eq!(
            choices,
            ["0", "1", "2", "3"]
                .into_iter()
                .zip(ipsec)
                .collect::<Vec<_>>()
        );
    }
    assert_eq!(
        param("*PriorityVLANTag").description,
        "Packet Priority & VLAN"
    );
    let jumbo = param("*JumboPacket");
    assert_eq!(
        (jumbo.min, jumbo.max, jumbo.kind.as_str()),
        (Some(1514), Some(9014), "int")
    );
    assert_eq!(jumbo.description, "Jumbo Packet");
    let address = param("NetworkAddress");
    assert!(address.optional && address.kind == "edit");
}

#[test]
fn the_package_follows_infverif() {
    let inf = own();
    assert_eq!(inf.version("PnpLockdown").unwrap(), "1");
    assert_eq!(inf.version("Class").unwrap(), "Net");
    assert_eq!(
        inf.version("ClassGUID").unwrap(),
        "{4d36e972-e325-11ce-bfc1-08002be10318}"
    );
    assert_eq!(inf.version("CatalogFile").unwrap(), "ipsecov2.cat");
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/ipsecov2.inx"))
            .unwrap();
    assert!(text.is_ascii());
    for needed in ["NT$ARCH$", "$KMDFVERSION$", "= 13 ;", "%13%\\ipsecov2.sys"] {
        assert!(text.contains(needed), "{needed}");
    }
}

const SOUND: &str = r#"[Version]
Signature = "$WINDOWS NT$" ; any case
[Manufacturer]
Maker = Models,NTamd64
[Models.NTamd64]
"An ""adapter""" = Ndi, \
    root\thing, root\other
[Ndi]
Characteristics=0x84
*IfType=6
*MediaType=0
*PhysicalMediaType=14
AddReg=Reg
[Reg]
HKR,,Text,0,"a ; b, c %% d"
HKR,,Keep,0x00010001,0x10
HKR,,Keep,0x00010003,0x20
HKR,,Bytes,1,0a,ff
HKR,,List,0x00010000,"one","two"
HKR,,Named,,%Name%
HKR,Ndi\Interfaces,UpperRange,0,"ndis5"
[Ndi.Services]
AddService=other,,Other
AddService=svc,2,Svc
[Svc]
ServiceBinary=%13%\thing.sys
[Strings]
Name = "resolved"
"#;

#[test]
fn the_format_is_read_as_setup_reads_it() {
    let install = Inf::parse(SOUND).unwrap().install("ROOT\\OTHER").unwrap();
    assert_eq!(install.description, "An \"adapter\"");
    assert_eq!(
        (install.service.as_str(), install.binary.as_str()),
        ("svc", "thing.sys")
    );
    assert_eq!(install.kmdf, None);
    let expected = [
        ("Text", RegValue::Sz("a ; b, c % d".into())),
        ("Keep", RegValue::Dword(0x10)),
        ("Bytes", RegValue::Binary(vec![0x0A, 0xFF])),
        ("List", RegValue::MultiSz(vec!["one".into(), "two".into()])),
        ("Named", RegValue::Sz("resolved".into())),
        ("UpperRange", RegValue::Sz(String::new())),
    ];
    for (name, value) in &expected[..5] {
        assert_eq!(lookup(&install.adapter, name), Some(value), "{name}");
    }
    assert_eq!(lookup(&install.adapter, "UpperRange"), None);
}

#[test]
fn errors_are_clear() {
    for (from, to, message) in [
        ("$WINDOWS NT$", "$DOS$", "not a Windows signature"),
        ("[Reg]\n", "[Registry]\n", "no section [Reg]"),
        ("*IfType=6\n", "", "has no *IfType"),
        ("Characteristics=0x84\n", "", "no Characteristics"),
        ("%Name%", "%Nme%", "%Nme% is not in [Strings]"),
        ("HKR,,Text", "HKLM,,Text", "only under HKR"),
        ("HKR,,Text", "HKX,,Text", "not a registry root"),
        ("0x00010001,0x10", "0x00010001,0xZZ", "not a number"),
        ("1,0a,ff", "1,0a,fff", "not a byte"),
        ("0x00010000,", "0x00070000,", "is unknown"),
        (
            "AddService=svc,2,Svc",
            "AddService=svc,0,Svc",
            "no function driver",
        ),
        ("ServiceBinary", "Binary", "no ServiceBinary"),
        ("[Ndi]", "[Ndi", "closing bracket"),
        ("\"resolved\"", "\"resolved", "without its partner"),
        ("Models,NTamd64", "Models,NTarm64", "no model has"),
        (
            "[Version]\n",
            "stray = 1\n[Version]\n",
            "before the first section",
        ),
    ] {
        assert!(SOUND.contains(from), "{from}");
        let text = SOUND.replacen(from, to, 1);
        let error = Inf::parse(&text)
            .and_then(|inf| inf.install("root\\thing"))
            .unwrap_err();
        assert!(
            error.to_string().contains(message),
            "{from:?} -> {to:?}: {error}"
        );
    }
}

#[test]
fn advanced_properties_must_make_sense() {
    let with = |reg: &str| {
        let text = SOUND.replacen("[Reg]\n", &format!("[Reg]\n{reg}\n"), 1);
        Inf::parse(&text)
            .unwrap()
            .install("root\\thing")
            .map(|i| i.params)
    };
    let describe = "HKR,Ndi\\Params\\*X,ParamDesc,0,\"X\"\n";
    for (reg, message) in [
        (
            "HKR,Ndi\\Params\\*X,Type,0,\"enum\"".to_owned(),
            "no ParamDesc",
        ),
        (
            format!("{describe}HKR,Ndi\\Params\\*X,Type,0,\"enum\""),
            "without choices",
        ),
        (
            format!("{describe}HKR,Ndi\\Params\\*X,Type,0,\"colour\""),
            "unknown Type",
        ),
        (
            format!("{describe}HKR,Ndi\\Params\\*X,Tpe,0,\"enum\""),
            "describes no advanced property",
        ),
        (
            format!(
                "{describe}HKR,Ndi\\Params\\*X,Type,0,\"enum\"\nHKR,Ndi\\Params\\*X,Default,0,\"4\"\nHKR,Ndi\\Params\\*X\\enum,\"1\",0,\"one\""
            ),
            "not one of its choices",
        ),
        (
            format!(
                "{describe}HKR,Ndi\\Params\\*X,Type,0,\"int\"\nHKR,Ndi\\Params\\*X,Default,0,\"4\"\nHKR,Ndi\\Params\\*X,Min,0,\"5\"\nHKR,Ndi\\Params\\*X,Max,0,\"9\""
            ),
            "outside Min..Max",
        ),
    ] {
        let error = with(&reg).unwrap_err();
        assert!(error.to_string().contains(message), "{reg}: {error}");
    }
}
