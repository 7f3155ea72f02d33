//! A configuration directory with which Wireshark and tshark decrypt the SAs of a `sas.json`.
//!
//! `preferences` switches the decryption and the ICV check on, `esp_sa` is the table that
//! Wireshark edits under Protocols > ESP > ESP SAs.

use std::{borrow::Cow, fs, net::IpAddr, path::Path};

use anyhow::{Context, Result};

use crate::{
    algorithm::{Authentication, Encryption},
    sas::{Esp, Sa},
};

/// Name of the directory inside of an output directory.
pub const DIRECTORY: &str = "wireshark";

const PREFERENCES: &str = "\
# Decrypt ESP with the SAs in esp_sa and check the ICV.
esp.enable_null_encryption_decode_heuristic: FALSE
esp.enable_encryption_decode: TRUE
esp.enable_authentication_check: TRUE
";

/// Writes the directory below `out`.
pub fn write_configuration(out: &Path, sas: &[Sa]) -> Result<()> {
    let directory = out.join(DIRECTORY);
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("preferences"), PREFERENCES)?;
        fs::write(directory.join("esp_sa"), esp_sa_table(sas))
    };
    write().with_context(|| format!("cannot write {}", directory.display()))
}

/// The command line that shows a decrypted capture, as a POSIX shell takes it.
pub fn command_line(out: &Path, capture: &str) -> String {
    let word = |name: &str| {
        let path = out.join(name).to_string_lossy().into_owned();
        // A word cannot have a NUL, and neither has a path.
        shlex::try_quote(&path).map_or_else(|_| path.clone(), Cow::into_owned)
    };
    format!(
        "WIRESHARK_CONFIG_DIR={} tshark -r {}",
        word(DIRECTORY),
        word(capture)
    )
}

/// The lines of `esp_sa`. Wireshark has no name for some SAs (AES-GMAC, ICVs of other
/// lengths): their lines are comments.
pub fn esp_sa_table(sas: &[Sa]) -> String {
    let mut table = String::from("# Made from sas.json, keys included.\n");
    for sa in sas {
        let Some(esp) = &sa.esp else { continue };
        match esp_sa_line(sa, esp) {
            Some(line) => table += &line,
            None => table += &format!("# {}: Wireshark has no algorithm for it\n", sa.name),
        }
    }
    table
}

fn esp_sa_line(sa: &Sa, esp: &Esp) -> Option<String> {
    let address = |address: Option<IpAddr>| address.map_or("*".to_owned(), |a| a.to_string());
    let key = |parts: [&[u8]; 2]| match parts.concat() {
        bytes if bytes.is_empty() => String::new(),
        bytes => format!("0x{}", hex::encode(bytes)),
    };
    let fields = [
        if sa.is_ipv6().ok()? { "IPv6" } else { "IPv4" }.to_owned(),
        address(sa.source),
        address(sa.destination),
        esp.spi.to_string(),
        encryption_name(esp)?.to_owned(),
        key([&esp.encryption.key, &esp.encryption.salt]),
        authentication_name(esp)?.to_owned(),
        key([esp.authentication.as_ref().map_or(&[], |a| &a.key), &[]]),
        if esp.esn { "64-bit" } else { "32-bit" }.to_owned(),
        format!("{:#010x}", esp.sequence_high),
    ];
    Some(format!("\"{}\"\n", fields.join("\",\"")))
}

fn encryption_name(esp: &Esp) -> Option<&'static str> {
    Some(match esp.encryption.algorithm {
        Encryption::Null => "NULL",
        Encryption::DesCbc => "DES-CBC [RFC2405]",
        Encryption::TripleDesCbc => "TripleDES-CBC [RFC2451]",
        Encryption::AesCbc128 | Encryption::AesCbc192 | Encryption::AesCbc256 => {
            "AES-CBC [RFC3602]"
        }
        Encryption::AesGcm128 | Encryption::AesGcm192 | Encryption::AesGcm256 => {
            match esp.encryption.icv_len() {
                8 => "AES-GCM with 8 octet ICV [RFC4106]",
                12 => "AES-GCM with 12 octet ICV [RFC4106]",
                16 => "AES-GCM with 16 octet ICV [RFC4106]",
                _ => return None,
            }
        }
    })
}

fn authentication_name(esp: &Esp) -> Option<&'static str> {
    let Some(authentication) = &esp.authentication else {
        return Some("NULL");
    };
    match authentication.algorithm {
        Authentication::HmacMd5 => Some("HMAC-MD5-96 [RFC2403]"),
        Authentication::HmacSha1 => Some("HMAC-SHA-1-96 [RFC2404]"),
        Authentication::HmacSha256 => Some("HMAC-SHA-256-128 [RFC4868]"),
        Authentication::AesGmac128 | Authentication::AesGmac192 | Authentication::AesGmac256 => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_takes_the_command_line_as_it_is() {
        for folder in [
            "out",
            "my run",
            "it's",
            "$HOME `x` \"y\" \\ ;&|*?!",
            "a\nb",
            "\u{e4}",
        ] {
            let line = command_line(Path::new(folder), "wire.pcap");
            // The words that a shell makes of it.
            let shown = "f() { printf '%s|' \"$WIRESHARK_CONFIG_DIR\" \"$@\"; }; ";
            let script = shown.to_owned() + &line.replacen("tshark", "f", 1);
            let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(
                String::from_utf8(ran.stdout).unwrap(),
                format!("{folder}/wireshark|-r|{folder}/wire.pcap|"),
                "{line}"
            );
        }
        let plain = command_line(Path::new("out"), "wire.pcap");
        assert_eq!(
            plain,
            "WIRESHARK_CONFIG_DIR=out/wireshark tshark -r out/wire.pcap"
        );
    }
}
