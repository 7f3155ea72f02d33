//! What must be true of a packet that went through the driver.

use anyhow::{Context, Result, bail, ensure};
use ndis_sys::NDIS_STATUS_SUCCESS;

use crate::{
    checksum,
    compare::{difference, same_on_the_link},
    lab::status_name,
    offload::ReceiveStamp,
    outbound::{Outgoing, Protection, expected_indicated, expected_on_wire},
    packet::{Layout, ipv4_checksum},
    recorder::{Completed, Indicated},
    sas::{Sa, Spi},
    unframe::{HeaderInfo, Identity, check_header_info, unframe},
};

/// A packet's send must be completed once, and successfully.
pub fn check_completion(outgoing: &Outgoing, completed: &[Completed]) -> Result<()> {
    check_completions(outgoing.number, 1, completed)
}

/// The same of a packet that went down in so many NET_BUFFER_LISTs.
pub fn check_completions(number: usize, lists: usize, completed: &[Completed]) -> Result<()> {
    let of_packet = || {
        let of_packet = completed.iter();
        of_packet.filter(|completed| completed.cookie == number as u64)
    };
    let count = of_packet().count();
    if let Some(failed) = of_packet().find(|completed| completed.status != NDIS_STATUS_SUCCESS) {
        bail!("its send was completed with {}", status_name(failed.status));
    }
    ensure!(count >= lists, "its send was not completed");
    ensure!(count == lists, "its send was completed twice");
    Ok(())
}

/// The frame on the wire must be, byte for byte, what software makes of the packet (under the IV
/// that the driver chose, where it may choose one), and the tap,
/// which has no SAs, must leave it alone.
pub fn check_wire(outgoing: &Outgoing, seen: &Indicated, sas: &[Sa]) -> Result<()> {
    let expected = expected_on_wire(outgoing, sas, &seen.frame)?;
    ensure!(
        same_on_the_link(&seen.frame, &expected),
        difference(&seen.frame, &expected)
    );
    check_untouched(seen).context("at an adapter without SAs")?;
    checksum::check(seen.checksums, &seen.frame, None).context("at an adapter without SAs")
}

/// A packet without IPsec processing carries stamps that say so.
pub fn check_untouched(seen: &Indicated) -> Result<()> {
    ensure!(
        seen.stamp == ReceiveStamp::NONE && seen.header.is_none(),
        "stamped {:?}, {:?}",
        seen.stamp,
        seen.header
    );
    Ok(())
}

/// What came up must be, byte for byte, what software makes of the frame of the wire: decrypted in
/// place, and everything else as it was.
pub fn check_indicated(
    outgoing: &Outgoing,
    wire: &[u8],
    seen: &Indicated,
    sas: &[Sa],
) -> Result<()> {
    let expected = expected_indicated(outgoing, sas, wire)?;
    ensure!(seen.frame == expected, difference(&seen.frame, &expected));
    Ok(())
}

/// Does TCP/IP's part on a packet that came up, and compares it with what was sent. The result
/// is the frame with what IPsec does not carry put back from `captured`: the padding of the link
/// that it was captured on, and an IPv4 header checksum that had not been filled in there.
pub fn check_received(
    outgoing: &Outgoing,
    seen: &Indicated,
    sas: &[Sa],
    captured: &[u8],
) -> Result<Vec<u8>> {
    let mut frame = match &outgoing.protection {
        Err(_) => {
            check_untouched(seen)?;
            ensure!(
                same_on_the_link(&seen.frame, &outgoing.plain),
                difference(&seen.frame, &outgoing.plain)
            );
            checksum::check(seen.checksums, &seen.frame, None)?;
            return Ok(seen.frame[..outgoing.plain.len()].to_vec());
        }
        Ok(protection) => strip(protection, seen, sas)?,
    };
    ensure!(frame == outgoing.plain, difference(&frame, &outgoing.plain));
    checksum::check(seen.checksums, &seen.frame, Some(&frame))?;
    frame.extend_from_slice(&captured[frame.len()..]);
    if let Ok(layout) = Layout::of(captured)
        && layout.version == 4
    {
        let header = layout.ip..layout.ip + usize::from(captured[layout.ip] & 0x0F) * 4;
        let checksum = layout.ip + 10..layout.ip + 12;
        let right = ipv4_checksum(&captured[header]).to_be_bytes();
        if captured[checksum.clone()] != right {
            frame[checksum.clone()].copy_from_slice(&captured[checksum]);
        }
    }
    Ok(frame)
}

/// Checks the driver's verdict and takes all headers off.
pub fn strip(protection: &Protection, seen: &Indicated, sas: &[Sa]) -> Result<Vec<u8>> {
    let stamp = ReceiveStamp {
        sa_delete_req: false,
        ..seen.stamp
    };
    // "NextCryptoDone is set only if a packet has both tunnel and transport IPsec payloads".
    let verified = ReceiveStamp {
        crypto_done: true,
        next_crypto_done: protection.inner.is_some(),
        ..ReceiveStamp::NONE
    };
    ensure!(
        stamp == verified,
        "CryptoDone {}, NextCryptoDone {}, {} instead of a verified packet{}",
        u8::from(stamp.crypto_done),
        u8::from(stamp.next_crypto_done),
        stamp.status_name(),
        if verified.next_crypto_done {
            " in a tunnel"
        } else {
            ""
        }
    );
    let mut frame = seen.frame.clone();
    let mut trailers = Vec::new();
    for portion in protection.portions().rev() {
        let sa = &sas[portion.sa];
        let plain = unframe(&frame, sa)?;
        check_identity(
            "AH",
            plain.ah,
            sa.ah.as_ref().map(|ah| ah.spi),
            portion.ah.map(|ah| ah.sequence),
        )?;
        check_identity(
            "ESP",
            plain.esp,
            sa.esp.as_ref().map(|esp| esp.spi),
            portion.esp.map(|esp| esp.sequence),
        )?;
        trailers.extend(plain.trailer);
        frame = plain.frame;
    }
    check_header_words(seen.header, &trailers, protection)?;
    Ok(frame)
}

fn check_identity(
    protocol: &str,
    found: Option<Identity>,
    spi: Option<Spi>,
    sequence: Option<u64>,
) -> Result<()> {
    let wanted = spi.zip(sequence).map(|(spi, sequence)| Identity {
        spi: spi.0,
        sequence: sequence as u32,
    });
    ensure!(
        found == wanted,
        "SPI and sequence number of {protocol} are {found:x?} instead of {wanted:x?}"
    );
    Ok(())
}

/// The header words are about the ESP trailer. With one trailer they must be set, with none they
/// must not. Of two the documentation does not say which they would be about: either, if any.
fn check_header_words(
    seen: Option<HeaderInfo>,
    trailers: &[HeaderInfo],
    protection: &Protection,
) -> Result<()> {
    match (seen, trailers) {
        (None, []) => Ok(()),
        (None, _) if protection.inner.is_some() => Ok(()),
        (None, _) => bail!("HeaderInfoSet is not set"),
        (Some(_), []) => bail!("HeaderInfoSet is set for a packet without ESP"),
        (Some(said), _) if trailers.contains(&said) => Ok(()),
        (Some(said), [trailer, ..]) => Ok(check_header_info(Some(said), *trailer)?),
    }
}
