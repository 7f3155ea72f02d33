//! What must be true of a packet that went through the driver.

use anyhow::{Context, Result, ensure};
use ndis_sys::NDIS_STATUS_SUCCESS;

use crate::{
    compare::{difference, same_on_the_link},
    lab::status_name,
    offload::ReceiveStamp,
    outbound::{Outgoing, Protection, expected_on_wire},
    packet::{Layout, ipv4_checksum},
    recorder::{Completed, Indicated},
    sas::Sa,
    unframe::unframe_esp,
};

/// A packet's send must be completed once, and successfully.
pub fn check_completion(outgoing: &Outgoing, completed: &[Completed]) -> Result<()> {
    let mut of_packet = completed
        .iter()
        .filter(|completed| completed.cookie == outgoing.number as u64);
    let first = of_packet.next().context("its send was not completed")?;
    ensure!(
        first.status == NDIS_STATUS_SUCCESS,
        "its send was completed with {}",
        status_name(first.status)
    );
    ensure!(of_packet.next().is_none(), "its send was completed twice");
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
    check_untouched(seen).context("at an adapter without SAs")
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
            return Ok(seen.frame[..outgoing.plain.len()].to_vec());
        }
        Ok(protection) => strip(protection, seen, sas)?,
    };
    ensure!(frame == outgoing.plain, difference(&frame, &outgoing.plain));
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

/// Checks the driver's verdict and takes the ESP envelope off.
pub fn strip(protection: &Protection, seen: &Indicated, sas: &[Sa]) -> Result<Vec<u8>> {
    let stamp = ReceiveStamp {
        sa_delete_req: false,
        ..seen.stamp
    };
    let verified = ReceiveStamp {
        crypto_done: true,
        ..ReceiveStamp::NONE
    };
    ensure!(
        stamp == verified,
        "CryptoDone {}, NextCryptoDone {}, {} instead of a verified packet",
        u8::from(stamp.crypto_done),
        u8::from(stamp.next_crypto_done),
        stamp.status_name()
    );
    let esp = sas[protection.sa]
        .esp
        .as_ref()
        .context("an SA without ESP")?;
    let header = seen.header.context("HeaderInfoSet is not set")?;
    let plain = unframe_esp(&seen.frame, esp.iv_len(), esp.icv_len(), Some(header))?;
    ensure!(
        plain.spi == esp.spi.0 && plain.sequence == protection.sequence as u32,
        "SPI {:#x}, sequence number {} instead of {}, {}",
        plain.spi,
        plain.sequence,
        esp.spi,
        protection.sequence as u32
    );
    Ok(plain.frame)
}
