#!/usr/bin/env python3
"""Makes scapy-udp-esp.txt: the four UDP-ESP subtypes by scapy over OpenSSL (PyPI scapy and cryptography)."""
import itertools
import pathlib
import random

import scapy
from scapy.all import ESP, IP, UDP, IPv6, Raw, raw
from scapy.layers.ipsec import CRYPT_ALGOS, SecurityAssociation

chance = random.Random(3948)
SUITES = [
    ("NULL", 0, "HMAC-SHA1-96", 20), ("NULL", 0, "SHA2-256-128", 32), ("3DES", 24, "HMAC-MD5-96", 16),
    ("AES-CBC", 16, "HMAC-SHA1-96", 20), ("AES-CBC", 32, "SHA2-256-128", 32),
    ("AES-GCM", 20, "NULL", 0), ("AES-GCM", 36, "NULL", 0), ("AES-NULL-GMAC", 28, "NULL", 0),
]
SUBTYPES = ["transport", "tunnel", "transport-over-udp-tunnel", "udp-transport-over-tunnel"]
SIZES = [0, 1, 15, 16, 64, 1400]


def addresses(version, a, b):
    if version == 4:
        return IP(src=f"192.0.2.{a}", dst=f"198.51.100.{b}", id=7)
    return IPv6(src=f"2001:db8::{a}", dst=f"2001:db8::{b}")


class Portion:
    """One SA: seals a packet, and says what it is when it has been opened again."""

    def __init__(self, suite, esn, spi, tunnel, udp):
        self.cipher, length, auth, auth_length = suite
        self.key, self.auth_key = chance.randbytes(length), chance.randbytes(auth_length)
        self.tunnel, self.udp = tunnel, udp
        self.sequence = chance.randrange(1, 1 << 30)
        self.esn = esn or 0
        # The port of the other end is whatever its address translator made of 4500.
        header = UDP(sport=chance.choice([4500, 12345]), dport=4500) if udp else None
        self.sa = SecurityAssociation(
            ESP, spi=spi, crypt_algo=self.cipher, crypt_key=self.key or None, auth_algo=auth,
            auth_key=self.auth_key or None, tunnel_header=tunnel, nat_t_header=header,
            esn_en=esn is not None, esn=self.esn,
        )
        self.fields = [self.cipher, self.key.hex() or "-", auth, self.auth_key.hex() or "-"]

    def seal(self, packet, opened):
        """Returns the sealed packet, and the same with its body as `opened` has it."""
        iv = b"" if self.cipher == "NULL" else chance.randbytes(CRYPT_ALGOS[self.cipher].iv_size)
        if self.cipher in ("AES-GCM", "AES-NULL-GMAC"):
            iv = (self.esn << 32 | self.sequence).to_bytes(8, "big")
        sealed = raw(self.sa.encrypt(packet, seq_num=self.sequence, iv=iv))
        header = (20 if sealed[0] >> 4 == 4 else 40) + (8 if self.udp else 0)
        inner = 20 if opened[0] >> 4 == 4 else 40
        if self.tunnel is None:
            plain, next_header = opened[inner:], 17
        else:
            plain, next_header = opened, (4 if inner == 20 else 41)
        block = CRYPT_ALGOS[self.cipher].block_size if self.cipher in ("3DES", "AES-CBC") else 4
        pad = -(len(plain) + 2) % block
        body = plain + bytes(range(1, pad + 1)) + bytes([pad, next_header])
        start = header + 8 + len(iv)
        return sealed, sealed[:start] + body + sealed[start + len(body):]


def main():
    lines = [
        f"# UDP-encapsulated ESP packets by scapy {scapy.__version__}. The outer SA has SPI 01020304,",
        "# that of the packet in it 01020305.",
        "# subtype esn-high-or-- cipher key authentication key (inner: cipher key authentication key, or four -)",
        "#   packet packet-when-all-is-opened",
    ]
    for subtype, suite, (outer, inner), esn in itertools.product(
        SUBTYPES, SUITES, [(4, 4), (4, 6), (6, 4), (6, 6)], [None, 0x80000001]
    ):
        if subtype == "transport" and outer != inner:
            continue
        packet = addresses(inner, 1, 2) / UDP(sport=7, dport=9) / Raw(chance.randbytes(chance.choice(SIZES)))
        tunnel = None if subtype == "transport" else addresses(outer, 3, 4)
        outside = Portion(suite, esn, 0x01020304, tunnel, subtype != "udp-transport-over-tunnel")
        within, opened = None, raw(packet)
        if "over" in subtype:
            within = Portion(chance.choice(SUITES), esn, 0x01020305, None, subtype == "udp-transport-over-tunnel")
            sealed, opened = within.seal(packet, opened)
            packet = (IP if inner == 4 else IPv6)(sealed)
        sealed, opened = outside.seal(packet, opened)
        lines.append(" ".join([
            subtype, "-" if esn is None else f"{esn:x}", *outside.fields,
            *(within.fields if within else ["-"] * 4), sealed.hex(), opened.hex(),
        ]))
    (pathlib.Path(__file__).parent / "scapy-udp-esp.txt").write_text("\n".join(lines) + "\n")


main()
