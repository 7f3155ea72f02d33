#!/usr/bin/env python3
"""Makes scapy-esp.txt: ESP packets by scapy over OpenSSL (PyPI scapy and cryptography)."""
import itertools
import pathlib
import random

import scapy
from scapy.all import ESP, IP, UDP, IPv6, Raw, raw
from scapy.layers.ipsec import CRYPT_ALGOS, SecurityAssociation

chance = random.Random(4303)
ENCRYPTION = {"NULL": [0], "DES": [8], "3DES": [24], "AES-CBC": [16, 24, 32]}
AUTHENTICATION = {"HMAC-MD5-96": 16, "HMAC-SHA1-96": 20, "SHA2-256-128": 32}
SIZES = [0, 1, 15, 16, 64, 1400]


def combinations():
    for (cipher, lengths), (auth, auth_length) in itertools.product(ENCRYPTION.items(), AUTHENTICATION.items()):
        for length in lengths:
            yield cipher, length, auth, auth_length
    for cipher, length in itertools.product(["AES-GCM", "AES-NULL-GMAC"], [20, 28, 36]):
        yield cipher, length, "NULL", 0


def main():
    lines = [
        f"# ESP packets by scapy {scapy.__version__}.",
        "# cipher key authentication key esn-high-or-- mode packet opened-body",
        "# opened-body: payload, padding and trailer; of a tunnel the payload is an IP packet.",
    ]
    for (cipher, length, auth, auth_length), ip, mode, esn in itertools.product(
        combinations(), [4, 6], ["transport", "46", "64", "44", "66"], [None, 0x80000001]
    ):
        inner = ip if mode == "transport" else int(mode[1])
        outer = ip if mode == "transport" else int(mode[0])
        if mode != "transport" and ip == 6:
            continue
        v4 = lambda a, b: IP(src=f"192.0.2.{a}", dst=f"198.51.100.{b}", id=7)
        v6 = lambda a, b: IPv6(src=f"2001:db8::{a}", dst=f"2001:db8::{b}")
        header = (v4 if inner == 4 else v6)(1, 2)
        tunnel = None if mode == "transport" else (v4 if outer == 4 else v6)(3, 4)
        key, auth_key = chance.randbytes(length), chance.randbytes(auth_length)
        sa = SecurityAssociation(
            ESP, spi=0x01020304, crypt_algo=cipher, crypt_key=key or None,
            auth_algo=auth, auth_key=auth_key or None, tunnel_header=tunnel,
            esn_en=esn is not None, esn=esn or 0,
        )
        packet = header / UDP(sport=7, dport=9) / Raw(chance.randbytes(chance.choice(SIZES)))
        sequence = chance.randrange(1, 1 << 30)
        iv = chance.randbytes(CRYPT_ALGOS[cipher].iv_size if cipher != "NULL" else 0)
        plain = raw(packet) if tunnel is not None else raw(packet[UDP])
        sealed = sa.encrypt(packet, seq_num=sequence, iv=iv)
        block = CRYPT_ALGOS[cipher].block_size if cipher in ("DES", "3DES", "AES-CBC") else 4
        pad = -(len(plain) + 2) % max(block, 4)
        next_header = 17 if tunnel is None else (4 if inner == 4 else 41)
        body = plain + bytes(range(1, pad + 1)) + bytes([pad, next_header])
        lines.append(" ".join([
            cipher, key.hex() or "-", auth, auth_key.hex() or "-",
            "-" if esn is None else f"{esn:x}", mode if tunnel is not None else "transport",
            raw(sealed).hex(), body.hex(),
        ]))
    (pathlib.Path(__file__).parent / "scapy-esp.txt").write_text("\n".join(lines) + "\n")


main()
