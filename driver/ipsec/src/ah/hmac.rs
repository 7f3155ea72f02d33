//! HMAC in AH.

use ipsec_crypto::{Hmac, MAX_DIGEST_BYTES, Simd, same_tag};

use super::transform::{AhTransform, Refused};
use super::{Place, Unpredictable};
use crate::esp::put;
use crate::esp::transform::Sequence;
use crate::hmac::IpsecHash;

/// A key of HMAC.
pub(crate) struct HmacTransform<H: IpsecHash>(pub Hmac<H>);

impl<H: IpsecHash> HmacTransform<H> {
    fn tag(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &[u8],
        sequence: Sequence,
    ) -> Result<[u8; MAX_DIGEST_BYTES], Unpredictable> {
        let mut message = self.0.start(simd);
        place.authenticated(packet, &mut |bytes| message.update(bytes))?;
        if sequence.extended {
            message.update(&sequence.high().to_be_bytes());
        }
        Ok(message.finish())
    }
}

impl<H: IpsecHash> AhTransform for HmacTransform<H> {
    fn icv_bytes(&self) -> usize {
        H::ICV
    }

    fn seal(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &mut [u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let tag = self.tag(simd, place, packet, sequence)?;
        put(packet.get_mut(place.icv.clone()).unwrap_or_default(), &tag);
        Ok(())
    }

    fn open(
        &self,
        simd: &Simd,
        place: &Place,
        packet: &[u8],
        sequence: Sequence,
    ) -> Result<(), Refused> {
        let tag = self.tag(simd, place, packet, sequence)?;
        let (expected, _) = tag.split_at(H::ICV);
        if same_tag(expected, packet.get(place.icv.clone()).unwrap_or_default()) {
            Ok(())
        } else {
            Err(Refused::WrongIcv)
        }
    }
}
