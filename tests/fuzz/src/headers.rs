//! IP headers with any options and extension headers, whose lengths are right.

use arbitrary::{Arbitrary, Result, Unstructured};

pub const SOURCE_V4: [u8; 4] = [192, 0, 2, 1];
pub const DESTINATION_V4: [u8; 4] = [198, 51, 100, 2];
pub const SOURCE_V6: [u8; 16] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const DESTINATION_V6: [u8; 16] = [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// IP protocol numbers.
pub const ESP: u8 = 50;
pub const AH: u8 = 51;

/// Everything before the IPsec header.
#[derive(Clone, Debug)]
pub struct Headers {
    pub v6: bool,
    /// TOS or traffic class, and TTL or hop limit.
    class: u8,
    hops: u8,
    identification: u16,
    /// IPv4: the options, whole words. IPv6: the extension headers.
    rest: Vec<u8>,
    /// IPv6: where the last of them says what comes next; the first is `first`.
    chain: Option<(u8, usize)>,
}

/// IPv6 extension headers of which offload knows how to pass them.
pub const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];

impl<'a> Arbitrary<'a> for Headers {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let shape: u8 = u.arbitrary()?;
        let v6 = shape & 1 != 0;
        let count = usize::from(shape >> 1) % 4;
        let mut headers = Self {
            v6,
            class: u.arbitrary()?,
            hops: u.arbitrary()?,
            identification: u.arbitrary()?,
            rest: Vec::new(),
            chain: None,
        };
        if v6 {
            headers.extensions(u, count)?;
        } else if count != 0 {
            let words = 1 + usize::from(u.arbitrary::<u8>()?) % 10;
            headers.rest = vec![0; words * 4];
            u.fill_buffer(&mut headers.rest)?;
        }
        Ok(headers)
    }
}

impl Headers {
    /// IPv4 or IPv6 with nothing after it.
    pub fn plain(v6: bool) -> Self {
        Self {
            v6,
            class: 0,
            hops: 64,
            identification: 0x1234,
            rest: Vec::new(),
            chain: None,
        }
    }

    /// Whether nothing in it can keep AH from being computed.
    pub fn is_plain(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether an IPv6 extension header may say that the packet is to, or from, another address than its
    /// header has.
    pub fn may_be_elsewhere(&self) -> bool {
        const ROUTING: u8 = 43;
        const DESTINATION: u8 = 60;
        let Some((mut kind, _)) = self.chain else {
            return false;
        };
        let mut at = 0;
        while at < self.rest.len() {
            if [ROUTING, DESTINATION].contains(&kind) {
                return true;
            }
            kind = self.rest[at];
            at += 8 + usize::from(self.rest[at + 1]) * 8;
        }
        false
    }

    fn extensions(&mut self, u: &mut Unstructured<'_>, count: usize) -> Result<()> {
        for _ in 0..count {
            let kind = *u.choose(&EXTENSIONS)?;
            let units = usize::from(u.arbitrary::<u8>()?) % 5;
            let at = self.rest.len();
            self.rest.resize(at + 8 + units * 8, 0);
            u.fill_buffer(&mut self.rest[at + 2..])?;
            self.rest[at + 1] = units as u8;
            let first = match self.chain {
                None => kind,
                Some((first, last)) => {
                    self.rest[last] = kind;
                    first
                }
            };
            self.chain = Some((first, at));
        }
        Ok(())
    }

    /// The headers before `protocol`, of a packet with so many bytes after them.
    pub fn before(&self, protocol: u8, payload: usize) -> Vec<u8> {
        if self.v6 {
            self.v6(protocol, payload)
        } else {
            self.v4(protocol, payload)
        }
    }

    fn v4(&self, protocol: u8, payload: usize) -> Vec<u8> {
        let length = 20 + self.rest.len();
        let mut header = vec![0x40 | (length / 4) as u8, self.class];
        header.extend(((length + payload) as u16).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend([0x40, 0, self.hops, protocol, 0xAB, 0xCD]);
        header.extend(SOURCE_V4);
        header.extend(DESTINATION_V4);
        header.extend(&self.rest);
        header
    }

    fn v6(&self, protocol: u8, payload: usize) -> Vec<u8> {
        let mut rest = self.rest.clone();
        let first = match self.chain {
            None => protocol,
            Some((first, last)) => {
                rest[last] = protocol;
                first
            }
        };
        let mut header = vec![0x60 | self.class >> 4, self.class << 4];
        header.extend(self.identification.to_be_bytes());
        header.extend(((rest.len() + payload) as u16).to_be_bytes());
        header.extend([first, self.hops]);
        header.extend(SOURCE_V6);
        header.extend(DESTINATION_V6);
        header.extend(rest);
        header
    }
}
