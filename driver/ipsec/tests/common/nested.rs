//! Transport mode over a tunnel: a packet with two SAs.

use ipsec::{
    CryptoStatus, Direction, EncryptionAlgorithm, Engine, Outcome, SaHandle, SendRequest, Trailer,
    Verdict,
};

use super::*;

/// A tunnel's SA is not the transport's.
fn of_tunnel(mut sa: Sa, ip: Ip) -> Sa {
    sa.spi = SPI + 1;
    sa.key.iter_mut().for_each(|byte| *byte ^= 0x33);
    sa.over(ip)
}

pub fn engine_iv(packet: &[u8], frame: &Frame, sa: &Sa) -> Vec<u8> {
    packet[frame.esp + 8..][..sa.iv()].to_vec()
}

pub fn processed(
    next_crypto_done: bool,
    status: CryptoStatus,
    trailer: Option<Trailer>,
) -> Verdict {
    Verdict::Processed(Outcome {
        next_crypto_done,
        status,
        sa_delete_request: false,
        trailer,
    })
}

pub fn trailer(frame: &Frame) -> Option<Trailer> {
    Some(Trailer {
        next_header: frame.next_header,
        pad_length: frame.pad_length,
    })
}

/// A packet with two SAs.
pub struct Nested {
    pub transport: Sa,
    pub tunnel: Sa,
    pub inner: Frame,
    pub outer: Frame,
}

impl Nested {
    pub fn new(transport: &Sa, inner: Ip, tunnel: &Sa, outer: Ip, sequence: u32) -> Self {
        Self::with_udp(transport, inner, false, tunnel, outer, false, sequence)
    }

    /// With a UDP header in front of the inner ESP, of the outer, or both.
    pub fn with_udp(
        transport: &Sa,
        inner: Ip,
        inner_udp: bool,
        tunnel: &Sa,
        outer: Ip,
        outer_udp: bool,
        sequence: u32,
    ) -> Self {
        let transport = transport.clone().over(inner);
        let tunnel = of_tunnel(tunnel.clone(), outer);
        let mut inner = Frame::new(inner, &transport, sequence, &payload(77));
        if inner_udp {
            inner = inner.in_udp();
        }
        let mut outer = Frame::tunnel(outer, &tunnel, sequence + 9, &inner.bytes);
        if outer_udp {
            outer = outer.in_udp();
        }
        Self {
            transport,
            tunnel,
            inner,
            outer,
        }
    }

    pub fn simple() -> Self {
        let sa = Sa::new(EncryptionAlgorithm::AesGcm128, 16);
        Self::new(&sa, Ip::V4, &sa, Ip::V6, 1)
    }

    /// Where the inner packet begins.
    pub fn start(&self) -> usize {
        self.outer.payload(&self.tunnel)
    }

    pub fn request(&self, transport: SaHandle, tunnel: SaHandle) -> SendRequest {
        SendRequest {
            tunnel: Some(tunnel),
            ..self.outer.request(transport)
        }
    }

    /// Sealed elsewhere: the inner packet first, then the tunnel around it.
    pub fn sealed(&self, inner_iv: &[u8], outer_iv: &[u8], inner: u64, outer: u64) -> Vec<u8> {
        let within = self.transport.seal_as_engine(&self.inner, inner, inner_iv);
        self.around(&within, outer_iv, outer)
    }

    pub fn around(&self, within: &[u8], iv: &[u8], number: u64) -> Vec<u8> {
        let mut frame = self.outer.clone();
        frame.bytes[self.start()..][..within.len()].copy_from_slice(within);
        self.tunnel.seal_as_engine(&frame, number, iv)
    }

    /// For AES-GCM, where the IVs are the numbers.
    pub fn gcm(&self) -> Vec<u8> {
        self.sealed(&1u64.to_be_bytes(), &10u64.to_be_bytes(), 1, 10)
    }

    pub fn receiver(&self, transport: bool, tunnel: bool) -> Engine {
        let engine = engine(2);
        if transport {
            self.transport.add_to(&engine, Direction::Inbound).unwrap();
        }
        if tunnel {
            self.tunnel.add_to(&engine, Direction::Inbound).unwrap();
        }
        engine
    }
}
