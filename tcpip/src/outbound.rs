//! The sending side of the transport: from a plain frame to what goes down to the driver.

use anyhow::{Context, Result, ensure};

use crate::{
    framing::{EspParameters, Framed, frame_esp},
    packet::{Layout, set_ip_length},
    policy::{self, Clear, Offers},
    sas::{Mode, Sa, UdpEsp},
    software::SoftwareEsp,
};

/// A frame for the driver.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Number of the packet in its capture, from 1, as Wireshark counts.
    pub number: usize,
    /// What the transport at the other end must get out of it.
    pub plain: Vec<u8>,
    /// What goes down: framed for ESP, or `plain`.
    pub frame: Vec<u8>,
    /// The SA that protects it, or why none does.
    pub protection: Result<Protection, Clear>,
}

/// How a frame is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Index of the SA in its file.
    pub sa: usize,
    /// Sequence number, high half included.
    pub sequence: u64,
    /// Offsets in bytes from the start of the IP header.
    pub esp_offset: usize,
    /// Next header in the ESP trailer.
    pub next_header: u8,
    /// Padding bytes in front of the ESP trailer.
    pub pad_len: u8,
}

/// Assigns SAs and sequence numbers and frames packets.
pub struct Sender<'a> {
    sas: &'a [Sa],
    offers: Offers,
    next_sequence: Vec<Option<u64>>,
}

impl<'a> Sender<'a> {
    /// A sender that starts with the sequence numbers that the SAs name.
    pub fn new(sas: &'a [Sa], offers: Offers) -> Self {
        let first = |sa: &Sa| {
            let esp = sa.esp.as_ref()?;
            Some(u64::from(esp.sequence_high) << 32 | u64::from(esp.sequence))
        };
        Self {
            sas,
            offers,
            next_sequence: sas.iter().map(first).collect(),
        }
    }

    /// Prepares packet `number` of a capture.
    ///
    /// # Errors
    ///
    /// When the sequence numbers of an SA are used up, and for SAs that this transport cannot
    /// frame. A packet that needs no SA always succeeds.
    pub fn prepare(&mut self, number: usize, frame: &[u8]) -> Result<Outgoing> {
        let chosen = policy::eligible(frame, &self.offers).and_then(|layout| {
            let sa = policy::outbound_sa(self.sas, &layout).ok_or(Clear::NoSa)?;
            Ok((layout, sa))
        });
        match chosen {
            Err(reason) => Ok(Outgoing {
                number,
                plain: frame.to_vec(),
                frame: frame.to_vec(),
                protection: Err(reason),
            }),
            Ok((layout, sa)) => self
                .protect(number, frame, &layout, sa)
                .with_context(|| format!("packet {number}, SA {}", self.sas[sa].name)),
        }
    }

    fn protect(
        &mut self,
        number: usize,
        frame: &[u8],
        layout: &Layout,
        sa_index: usize,
    ) -> Result<Outgoing> {
        let sa = &self.sas[sa_index];
        let esp = sa
            .esp
            .as_ref()
            .filter(|_| sa.ah.is_none() && sa.mode == Mode::Transport)
            .filter(|_| sa.udp_esp == UdpEsp::None && sa.tunnel.is_none())
            .context("this transport frames only ESP in transport mode")?;
        let next = &mut self.next_sequence[sa_index];
        let sequence = next.context("the sequence numbers are used up")?;
        // RFC 4303 section 3.3.3: never cycle. Without ESN the low half ends it.
        let last = if esp.esn { u64::MAX } else { u32::MAX.into() };
        ensure!(sequence <= last, "the sequence numbers are used up");
        *next = sequence.checked_add(1);

        let plain = as_sent(frame, layout)?;
        let Framed {
            frame,
            ip,
            esp: esp_at,
            next_header,
            pad_len,
        } = frame_esp(
            &plain,
            layout,
            &EspParameters {
                spi: esp.spi.0,
                sequence: sequence as u32,
                iv_len: esp.iv_len(),
                icv_len: esp.icv_len(),
                alignment: esp.encryption.algorithm.alignment(),
            },
        )?;
        Ok(Outgoing {
            number,
            plain,
            frame,
            protection: Ok(Protection {
                sa: sa_index,
                sequence,
                esp_offset: esp_at - ip,
                next_header,
                pad_len,
            }),
        })
    }
}

/// The packet as a transport sends it: without the padding of the link that it was captured on,
/// and with the IPv4 header checksum that an offloading NIC had still to fill in.
fn as_sent(frame: &[u8], layout: &Layout) -> Result<Vec<u8>> {
    let mut plain = frame[..layout.end].to_vec();
    set_ip_length(&mut plain, layout.version, layout.ip, layout.end)?;
    Ok(plain)
}

/// Does the driver's work in software.
pub fn seal_in_software(outgoing: &Outgoing, sas: &[Sa]) -> Result<Vec<u8>> {
    seal(outgoing, sas, None)
}

/// The frame as it must appear on the wire. Of AES-CBC's IV, which the driver chooses, `wire`
/// tells which it was; nothing else is taken from there.
pub fn expected_on_wire(outgoing: &Outgoing, sas: &[Sa], wire: &[u8]) -> Result<Vec<u8>> {
    seal(outgoing, sas, Some(wire))
}

fn seal(outgoing: &Outgoing, sas: &[Sa], wire: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut frame = outgoing.frame.clone();
    if let Ok(protection) = outgoing.protection {
        let esp = sas[protection.sa]
            .esp
            .as_ref()
            .context("an SA without ESP")?;
        let software = SoftwareEsp::new(esp)?;
        let high = (protection.sequence >> 32) as u32;
        match wire {
            Some(wire) if !esp.suite().iv_is_sequence() => {
                let at = Layout::of(&frame)?.payload + 8;
                let iv = wire
                    .get(at..at + esp.iv_len())
                    .context("no room for the IV")?;
                ensure!(
                    iv.is_empty() || *iv != frame[at..at + iv.len()],
                    "the IV was not written"
                );
                software.seal_with_iv(&mut frame, high, iv)?;
            }
            _ => software.seal(&mut frame, high)?,
        }
    }
    Ok(frame)
}
