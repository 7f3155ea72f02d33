//! Whether a frame that came up is what its packet must look like.

use anyhow::{Result, bail, ensure};
use ndis_sys::{
    CRYPTO_SUCCESS, CRYPTO_TRANSPORT_AH_AUTH_FAILED, CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    CRYPTO_TUNNEL_AH_AUTH_FAILED, CRYPTO_TUNNEL_ESP_AUTH_FAILED,
};
use tcpip::{
    compare::{difference, same_on_the_link},
    offload::ReceiveStamp,
    outbound::{Sender, expected_on_wire},
    policy::Offers,
    recorder::Indicated,
    sas::Mode,
    unframe::unframe,
    verify::{check_received, check_untouched},
};

use super::Flow;

/// How a packet came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It has no SA, and no stamp.
    Clear,
    /// The driver has decrypted it, and found it authentic.
    Verified,
    /// The driver has opened the tunnel, and left what is in it to software.
    HalfOpened,
    /// As it was on the wire, and without a stamp: software's job.
    Untouched,
    /// As it was on the wire, sealed right, and the driver found it not to be authentic: only where the
    /// high half of its extended sequence number cannot be known.
    Unauthentic,
    /// Its SA was not applied: only where IPsec offload was switched off.
    Unsealed,
}

impl Flow {
    /// Judges an indicated frame of this flow.
    pub(super) fn judge(&self, number: u64, seen: &Indicated) -> Result<Came> {
        let outgoing = self.outgoing(number);
        if self.sas.is_empty() {
            check_received(&outgoing, seen, &self.sas, &outgoing.plain)?;
            return Ok(Came::Clear);
        }
        let stamp = ReceiveStamp {
            sa_delete_req: false,
            ..seen.stamp
        };
        let nested = outgoing.protection.is_ok_and(|p| p.inner.is_some());
        if stamp.crypto_done && stamp.crypto_status == CRYPTO_SUCCESS {
            if nested && !stamp.next_crypto_done {
                self.check_half_opened(number, seen)?;
                return Ok(Came::HalfOpened);
            }
            check_received(&outgoing, seen, &self.sas, &outgoing.plain)?;
            return Ok(Came::Verified);
        }
        let failed = stamp.crypto_done && FAILURES.contains(&stamp.crypto_status);
        if !failed {
            check_untouched(seen)?;
        }
        if same_on_the_link(&seen.frame, &outgoing.frame) {
            return Ok(Came::Unsealed);
        }
        let expected = expected_on_wire(&outgoing, &self.sas, &seen.frame)?;
        ensure!(
            same_on_the_link(&seen.frame, &expected),
            difference(&seen.frame, &expected)
        );
        Ok(if failed {
            Came::Unauthentic
        } else {
            Came::Untouched
        })
    }

    /// In the opened tunnel there must be what the transport-mode SA alone makes of the packet.
    fn check_half_opened(&self, number: u64, seen: &Indicated) -> Result<()> {
        let (mut within, tunnels): (Vec<_>, Vec<_>) = self
            .sas_at(number)
            .into_iter()
            .partition(|sa| sa.mode == Mode::Transport);
        let [tunnel] = tunnels.as_slice() else {
            bail!("it has no tunnel");
        };
        within.iter_mut().for_each(|sa| sa.tunnel = None);
        let opened = unframe(&seen.frame, tunnel)?.frame;
        let alone = Sender::new(&within, Offers::EVERYTHING)
            .prepare(number as usize, &self.plain(number))?;
        let expected = expected_on_wire(&alone, &within, &opened)?;
        ensure!(opened == expected, difference(&opened, &expected));
        Ok(())
    }
}

const FAILURES: [u32; 4] = [
    CRYPTO_TRANSPORT_AH_AUTH_FAILED,
    CRYPTO_TRANSPORT_ESP_AUTH_FAILED,
    CRYPTO_TUNNEL_AH_AUTH_FAILED,
    CRYPTO_TUNNEL_ESP_AUTH_FAILED,
];
