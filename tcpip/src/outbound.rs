//! The sending side of the transport: from a plain frame to what goes down to the driver.

use anyhow::{Context, Result, ensure};

use crate::{
    framing::{Framed, Numbers, frame as frame_for},
    packet::{Layout, set_ip_length},
    policy::{self, Clear, Offers},
    sas::{Mode, Sa},
    software::Software,
};

pub use crate::protection::Protection;

/// A frame for the driver.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Number of the packet in its capture, from 1, as Wireshark counts.
    pub number: usize,
    /// What the transport at the other end must get out of it.
    pub plain: Vec<u8>,
    /// What goes down: framed, or `plain`.
    pub frame: Vec<u8>,
    /// The SAs that protect it, or why none does.
    pub protection: Result<Protection, Clear>,
}

/// Assigns SAs and sequence numbers and frames packets.
pub struct Sender<'a> {
    sas: &'a [Sa],
    offers: Offers,
    next: Vec<Next>,
}

/// The next sequence numbers of an SA; none when they are used up.
#[derive(Clone, Copy)]
struct Next {
    esp: Option<u64>,
    ah: Option<u64>,
}

impl<'a> Sender<'a> {
    /// A sender that starts with the sequence numbers that the SAs name.
    pub fn new(sas: &'a [Sa], offers: Offers) -> Self {
        let first = |sa: &Sa| Next {
            esp: sa.esp.as_ref().map(|esp| esp.first()),
            ah: sa.ah.as_ref().map(|ah| ah.first()),
        };
        Self {
            sas,
            offers,
            next: sas.iter().map(first).collect(),
        }
    }

    /// Prepares packet `number` of a capture.
    ///
    /// # Errors
    ///
    /// When the sequence numbers of an SA are used up, and for SAs that cannot be framed. A packet
    /// that needs no SA always succeeds.
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

    /// Whether the packet goes through a tunnel.
    pub fn is_tunnelled(&self, frame: &[u8]) -> bool {
        policy::eligible(frame, &self.offers)
            .ok()
            .and_then(|layout| policy::outbound_sa(self.sas, &layout))
            .is_some_and(|sa| self.sas[sa].mode == Mode::Tunnel || self.sas[sa].tunnel.is_some())
    }

    fn protect(
        &mut self,
        number: usize,
        frame: &[u8],
        layout: &Layout,
        sa: usize,
    ) -> Result<Outgoing> {
        let plain = as_sent(frame, layout)?;
        let first = self.apply(&plain, layout, sa)?;
        let Some(tunnel) = self.sas[sa].tunnel_in(self.sas) else {
            return Ok(Outgoing {
                number,
                plain,
                frame: first.frame,
                protection: Ok(Protection {
                    outer: first.portion,
                    inner: None,
                }),
            });
        };
        ensure!(
            self.sas[tunnel].direction.is_outbound(),
            "its tunnel {} is not for sending",
            self.sas[tunnel].name
        );
        let within = Layout::of(&first.frame)?;
        let second = self.apply(&first.frame, &within, tunnel)?;
        let moved = second.portion.payload - within.ip;
        Ok(Outgoing {
            number,
            plain,
            frame: second.frame,
            protection: Ok(Protection {
                outer: second.portion,
                inner: Some(first.portion.shifted(moved)),
            }),
        })
    }

    /// Frames for one SA, with its next sequence numbers.
    fn apply(&mut self, frame: &[u8], layout: &Layout, index: usize) -> Result<Framed> {
        let sa = &self.sas[index];
        let next = &mut self.next[index];
        let mut numbers = Numbers::default();
        if let Some(esp) = &sa.esp {
            numbers.esp = take(&mut next.esp, esp.esn)?;
        }
        if let Some(ah) = &sa.ah {
            numbers.ah = take(&mut next.ah, ah.esn)?;
        }
        Ok(frame_for(frame, layout, sa, index, &numbers)?)
    }
}

/// RFC 4303 section 3.3.3: never cycle. Without ESN the low half ends it.
fn take(next: &mut Option<u64>, esn: bool) -> Result<u64> {
    let last = if esn { u64::MAX } else { u32::MAX.into() };
    let number = next.filter(|&number| number <= last);
    let number = number.context("the sequence numbers are used up")?;
    *next = number.checked_add(1);
    Ok(number)
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

/// The frame as it must appear on the wire. Of the IVs of CBC, which the driver chooses, `wire`
/// tells which they were; nothing else is taken from there.
pub fn expected_on_wire(outgoing: &Outgoing, sas: &[Sa], wire: &[u8]) -> Result<Vec<u8>> {
    seal(outgoing, sas, Some(wire))
}

/// What a receiver with all of the SAs makes of a frame of the wire: everything is still in it,
/// and what was encrypted is plain.
pub fn expected_indicated(outgoing: &Outgoing, sas: &[Sa], wire: &[u8]) -> Result<Vec<u8>> {
    let mut frame = wire.to_vec();
    if let Ok(protection) = &outgoing.protection {
        for portion in protection.portions().rev() {
            Software::new(&sas[portion.sa])?.open(&mut frame, portion.ip, portion)?;
        }
    }
    Ok(frame)
}

fn seal(outgoing: &Outgoing, sas: &[Sa], wire: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut frame = outgoing.frame.clone();
    let Ok(protection) = &outgoing.protection else {
        return Ok(frame);
    };
    let ivs = match wire {
        Some(wire) => Some(chosen_ivs(protection, sas, wire, &frame)?),
        None => None,
    };
    for (index, portion) in protection.portions().enumerate() {
        let iv = ivs.as_ref().and_then(|ivs| ivs[index].as_deref());
        Software::new(&sas[portion.sa])?.seal(&mut frame, portion, iv)?;
    }
    Ok(frame)
}

/// The IVs that were the driver's to choose, from the inside out.
fn chosen_ivs(
    protection: &Protection,
    sas: &[Sa],
    wire: &[u8],
    framed: &[u8],
) -> Result<Vec<Option<Vec<u8>>>> {
    let mut seen = wire.to_vec();
    let mut ivs = Vec::new();
    for portion in protection.portions().rev() {
        let sa = &sas[portion.sa];
        let iv = match (&sa.esp, portion.esp) {
            (Some(esp), Some(at)) if !esp.suite().iv_is_sequence() && esp.iv_len() > 0 => {
                let range = at.at + 8..at.at + 8 + esp.iv_len();
                let iv = seen.get(range.clone()).context("no room for the IV")?;
                ensure!(*iv != framed[range], "the IV was not written");
                Some(iv.to_vec())
            }
            _ => None,
        };
        ivs.push(iv);
        // The inner IV is encrypted by the tunnel. Whether that is right the comparison will show.
        if protection.inner.is_some() {
            Software::new(sa)?
                .peek(&mut seen, portion)
                .context("a look into the tunnel")?;
        }
    }
    ivs.reverse();
    Ok(ivs)
}
