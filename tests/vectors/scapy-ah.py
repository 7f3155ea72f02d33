#!/usr/bin/env python3
"""Makes scapy-ah.txt: AH packets, and ESP within AH, by scapy (PyPI scapy and cryptography)."""
import itertools
import pathlib
import random

import scapy
from scapy.all import AH, IP, UDP, IPv6, Raw, raw
from scapy.layers.inet6 import HBHOptUnknown, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, RouterAlert
from scapy.layers.ipsec import SecurityAssociation

chance = random.Random(4302)
AUTHENTICATION = {"HMAC-MD5-96": 16, "HMAC-SHA1-96": 20, "SHA2-256-128": 32}
ESN = [None, 0x80000001]


def headers():
    v4 = dict(src="192.0.2.1", dst="198.51.100.2", id=7, ttl=61, tos=0xB9, flags="DF")
    yield "v4", IP(**v4)
    yield "v4-router-alert", (v4, b"\x94\x04\x00\x00\x01\x01\x01\x00")
    yield "v4-security", (v4, b"\x82\x0b" + bytes(range(9)) + b"\x00")
    yield "v4-record-route", (v4, b"\x01\x07\x0b\x04" + bytes(8))
    # Used up, as it arrives.
    yield "v4-source-route", (v4, b"\x83\x0b\x0c\xc0\x00\x02\x09\xc0\x00\x02\x0a\x00")
    v6 = dict(src="2001:db8::1", dst="2001:db8::2", hlim=61, tc=0xB9, fl=0x12345)
    yield "v6", IPv6(**v6)
    yield "v6-hop-by-hop", IPv6(**v6) / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    yield "v6-mutable-option", IPv6(**v6) / IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x3E, optlen=4, optdata=b"abcd")])
    yield "v6-destination", IPv6(**v6) / IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optlen=4, optdata=b"abcd")])


def main():
    lines = [
        f"# AH packets by scapy {scapy.__version__}. SPI of AH 01020304, of ESP 01020305.",
        "# name authentication key esn-high-or-- sequence mode packet; mode: transport or tunnel",
    ]
    for (name, header), (auth, length), esn, mode in itertools.product(
        headers(), AUTHENTICATION.items(), ESN, ["transport", "tunnel"]
    ):
        key = chance.randbytes(length)
        tunnel = None
        if mode == "tunnel":
            if name not in ("v4", "v6"):
                continue
            tunnel = IP(src="192.0.2.3", dst="198.51.100.4") if name == "v4" else IPv6(src="2001:db8::3", dst="2001:db8::4")
        sa = SecurityAssociation(
            AH, spi=0x01020304, auth_algo=auth, auth_key=key, tunnel_header=tunnel,
            esn_en=esn is not None, esn=esn or 0,
        )
        payload = UDP(sport=7, dport=9) / Raw(chance.randbytes(chance.choice([0, 1, 64, 1400])))
        if isinstance(header, tuple):
            fields, options = header
            words, length = 5 + len(options) // 4, 20 + len(options) + len(payload)
            fixed = raw(IP(**fields, ihl=words, len=length, proto=17))
            packet = IP(fixed + options + raw(payload))
        else:
            packet = header.copy() / payload
        sequence = chance.randrange(1, 1 << 30)
        signed = sa.encrypt(packet.__class__(raw(packet)), seq_num=sequence)
        lines.append(" ".join([
            name, auth, key.hex(), "-" if esn is None else f"{esn:x}", f"{sequence:x}", mode, raw(signed).hex(),
        ]))
    (pathlib.Path(__file__).parent / "scapy-ah.txt").write_text("\n".join(lines) + "\n")


main()
