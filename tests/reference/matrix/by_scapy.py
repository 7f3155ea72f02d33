"""The same by scapy's IPsec layer.

What scapy 2.8.0 cannot do, and who asks for it is told so:
- AES-GCM with an ICV of 8 or 12 bytes: it writes 16, whatever it is asked for;
- AES-GMAC in AH: it has no such algorithm.
What it does wrong, so that it is not asked:
- to put UDP behind IPv6 extension headers;
- to open ESP in transport mode behind IPv6 extension headers: it takes the payload for the first of these.
What it does wrong, and is helped with here: when it signs AH around ESP it takes the ESP header for the one to be
signed. So that it sees no ESP there, its knowledge of the protocol number and of the ports is taken away meanwhile.
"""

import contextlib
import logging

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH, ESP, IPSecIntegrityError, SecurityAssociation
from scapy.packet import bind_bottom_up, bind_layers, split_bottom_up, split_layers

from rfc import Integrity

CRYPT = {
    "null": "NULL",
    "des-cbc": "DES",
    "3des-cbc": "3DES",
    "aes-cbc-128": "AES-CBC",
    "aes-cbc-192": "AES-CBC",
    "aes-cbc-256": "AES-CBC",
    "aes-gcm-128": "AES-GCM",
    "aes-gcm-192": "AES-GCM",
    "aes-gcm-256": "AES-GCM",
}
AUTH = {
    "hmac-md5-96": "HMAC-MD5-96",
    "hmac-sha-1-96": "HMAC-SHA1-96",
    "hmac-sha-256-128": "SHA2-256-128",
}


def can(protocol, parameters):
    if protocol == "ah":
        return parameters["authentication"]["algorithm"] in AUTH
    encryption = parameters["encryption"]
    return not encryption["algorithm"].startswith("aes-gcm") or encryption.get("icv_length", 16) == 16


def parse(packet):
    return (IP if packet[0] >> 4 == 4 else IPv6)(packet)


@contextlib.contextmanager
def without_esp():
    for layer, field in (IP, "proto"), (IPv6, "nh"):
        split_layers(layer, ESP, **{field: 50})
    for field in "sport", "dport":
        split_bottom_up(UDP, ESP, **{field: 4500})
    try:
        yield
    finally:
        for layer, field in (IP, "proto"), (IPv6, "nh"):
            bind_layers(layer, ESP, **{field: 50})
        for field in "sport", "dport":
            bind_bottom_up(UDP, ESP, **{field: 4500})


class Header:
    """One ESP or AH header."""

    def __init__(self, protocol, parameters, tunnel, udp):
        if not can(protocol, parameters):
            raise ValueError("scapy cannot do this")
        keys = {}
        if protocol == "esp":
            encryption, mac = parameters["encryption"], parameters.get("authentication")
            name = CRYPT[encryption["algorithm"]]
            if mac and mac["algorithm"] not in AUTH:
                # RFC 4543 in scapy is a cipher with its key and salt, and no authenticator.
                name, encryption, mac = "AES-NULL-GMAC", mac, None
            keys["crypt_algo"] = name
            keys["crypt_key"] = bytes.fromhex(encryption.get("key", "") + encryption.get("salt", ""))
        else:
            mac = parameters["authentication"]
        if mac:
            keys.update(auth_algo=AUTH[mac["algorithm"]], auth_key=bytes.fromhex(mac["key"]))
        self.is_ah = protocol == "ah"
        self.association = SecurityAssociation(
            AH if self.is_ah else ESP,
            spi=int(parameters["spi"], 16),
            tunnel_header=parse(tunnel) if tunnel else None,
            nat_t_header=UDP(udp) if udp else None,
            esn_en=parameters.get("esn", False),
            **keys,
        )

    def seal(self, packet, sequence, iv):
        association = self.association
        # scapy takes a zero as an argument for none.
        association.seq_num, association.esn = sequence & 0xFFFFFFFF, sequence >> 32
        if not self.is_ah:
            return bytes(association.encrypt(parse(packet), seq_num=association.seq_num, iv=iv))
        with without_esp():
            return bytes(association.encrypt(parse(packet), seq_num=association.seq_num))

    def open(self, packet, high):
        self.association.esn = high
        try:
            return bytes(self.association.decrypt(parse(packet)))
        except IPSecIntegrityError as error:
            raise Integrity(str(error)) from error
