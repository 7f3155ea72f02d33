//! Any packet under SAs of every kind: what the engine makes of it is, byte for byte, what independent
//! software makes of it, and what it opens is what was sent.

use arbitrary::{Result, Unstructured};
use ipsec::{CryptoStatus, Verdict};
use tcpip::offload::Way;
use tcpip::outbound::{Outgoing, Protection, Sender, expected_indicated, expected_on_wire};
use tcpip::policy::Offers;
use tcpip::sas::Sa;

use crate::headers::{EXTENSIONS, Headers};
use crate::transport::{Policy, add, frame, request};
use crate::{engine, simd};

const UDP: u8 = 17;
/// IPv4 and IPv6 within IP.
const TUNNELS: [u8; 2] = [4, 41];

/// One input.
pub fn run(data: &[u8]) {
    let _ = run_inner(Unstructured::new(data));
}

fn run_inner(mut u: Unstructured<'_>) -> Result<()> {
    let policy: Policy = u.arbitrary()?;
    let headers: Headers = u.arbitrary()?;
    let protocol = match u.arbitrary()? {
        // More extension headers than the engine follows; `headers` has as many as are of use.
        extension if EXTENSIONS.contains(&extension) => UDP,
        other => other,
    };
    let frame = frame(&headers, protocol, u.take_rest());
    let sas = policy.sas(&frame);
    let outgoing = Sender::new(&sas, Offers::EVERYTHING)
        .prepare(1, &frame)
        .expect("a packet that is not too long");
    if let Ok(protection) = outgoing.protection {
        if protection.inner.is_some() && TUNNELS.contains(&protocol) {
            // A tunnel within the tunnel is the transport's.
            return Ok(());
        }
        compare(&sas, &outgoing, &protection);
    }
    Ok(())
}

fn compare(sas: &[Sa], outgoing: &Outgoing, protection: &Protection) {
    let engine = engine();
    let ip = protection.outer.ip;
    let mut wire = outgoing.frame.clone();
    let Some(request) = request(&engine, sas, protection) else {
        return;
    };
    let sealed = engine.seal(&simd(), &request, &mut wire[ip..]);
    let expected = expected_on_wire(outgoing, sas, &wire);
    match (sealed, expected) {
        (Ok(()), Ok(expected)) => assert_eq!(wire, expected),
        // An AH that cannot account for a header of the packet.
        (Err(_), Err(_)) => {
            assert_eq!(wire, outgoing.frame);
            return;
        }
        (sealed, expected) => panic!("{sealed:?}, and the second opinion {expected:?}"),
    }

    for portion in protection.portions() {
        add(&engine, &sas[portion.sa], Way::Inbound);
    }
    let on_wire = wire.clone();
    let verdict = engine.open(&simd(), &mut wire[ip..]);
    let Verdict::Processed(outcome) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(outcome.status, CryptoStatus::Success);
    assert_eq!(outcome.next_crypto_done, protection.inner.is_some());
    let indicated = expected_indicated(outgoing, sas, &on_wire).expect("a second opinion");
    assert_eq!(wire, indicated);
    if let (Some(trailer), Some(esp)) = (outcome.trailer, protection.esp()) {
        let expected = (esp.next_header, esp.pad_len);
        assert_eq!((trailer.next_header, trailer.pad_length), expected);
    }
}
