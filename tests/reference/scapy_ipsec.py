#!/usr/bin/env python3
"""IPsec by scapy's IPsec layer: the independent opinion on our captures.

    scapy_ipsec.py decrypt SAS.json WIRE.pcap PLAIN.pcap   plain packets out of IPsec
    scapy_ipsec.py encrypt SAS.json PLAIN.pcap WIRE.pcap   IPsec out of plain packets

ESP, AH, AH over ESP, tunnels, transport over tunnel and UDP encapsulation, as SAS.json says.
Packets that no SA takes are copied. The last line of the output is a JSON object:
how many packets, how many were processed, and the numbers of those that failed.

scapy's AES-GCM knows only ICVs of 16 bytes. It has no AES-GMAC for AH: that is made here, over its
own treatment of mutable fields and the AES-GCM of the package cryptography.
"""

import ipaddress
import json
import logging
import struct
import sys
import warnings

logging.getLogger("scapy").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.ipsec import (
    AH,
    AUTH_ALGOS,
    ESP,
    AuthAlgo,
    IPSecIntegrityError,
    SecurityAssociation,
    zero_mutable_fields,
)
from scapy.utils import RawPcapReader, RawPcapWriter

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
# RFC 4543 in scapy is a cipher with its key and salt, and no authenticator.
GMAC = {"aes-gmac-128", "aes-gmac-192", "aes-gmac-256"}
AUTH = {
    None: "NULL",
    "hmac-md5-96": "HMAC-MD5-96",
    "hmac-sha-1-96": "HMAC-SHA1-96",
    "hmac-sha-256-128": "SHA2-256-128",
}


class OfAh(AuthAlgo):
    """An algorithm for AH only: scapy's own sign() would sign the ESP that is within AH."""

    def message(self, packet, sending, esn_en, esn):
        clone = zero_mutable_fields(packet.copy(), sending=sending)
        return bytes(clone) + (struct.pack("!L", esn) if esn_en else b"")

    def sign(self, pkt, key, esn_en=False, esn=0):
        mac = self.new_mac(key)
        mac.update(self.message(pkt, True, esn_en, esn))
        pkt[AH].icv = mac.finalize()[: self.icv_size]
        return pkt


class Gmac(OfAh):
    """RFC 4543 section 4: the IV is the front of the ICV field."""

    def __init__(self):
        super().__init__("AES-GMAC", mac=True, digestmod=None, icv_size=24)

    def icv(self, pkt, key, iv, sending, esn_en, esn):
        key, salt = key[:-4], key[-4:]
        return iv + AESGCM(key).encrypt(salt + iv, b"", self.message(pkt, sending, esn_en, esn))

    def sign(self, pkt, key, esn_en=False, esn=0):
        # Any IV would do that never comes again.
        iv = struct.pack("!LL", esn if esn_en else 0, pkt[AH].seq)
        pkt[AH].icv = self.icv(pkt, key, iv, True, esn_en, esn)
        return pkt

    def verify(self, pkt, key, esn_en=False, esn=0):
        ah = pkt[AH]
        if len(ah.icv) != self.icv_size:
            ah.padding, ah.icv = ah.icv[self.icv_size :], ah.icv[: self.icv_size]
        if ah.icv != self.icv(pkt, key, ah.icv[:8], False, esn_en, esn):
            raise IPSecIntegrityError("AES-GMAC")


def for_ah(name):
    if name in GMAC:
        return Gmac()
    base = AUTH_ALGOS[AUTH[name]]
    return OfAh(base.name, base.mac, base.digestmod, base.icv_size)


def key_of(algorithm):
    return bytes.fromhex(algorithm.get("key", "") + algorithm.get("salt", ""))


def has_udp(sa):
    kind = sa.get("udp_esp", "none")
    wanted = {
        "transport-over-udp-tunnel": sa.get("mode") == "tunnel",
        "udp-transport-over-tunnel": sa.get("mode") != "tunnel",
    }
    return wanted.get(kind, kind != "none")


class Bundle:
    """One SA of the file: ESP, AH, or ESP within AH."""

    def __init__(self, sa):
        self.sa = sa
        self.tunnel = sa.get("mode") == "tunnel"
        self.selector = [ipaddress.ip_network(n) for n in sa["selector"].values()] if "selector" in sa else None
        header = None
        if self.tunnel:
            header = (IPv6 if ":" in sa["source"] else IP)(src=sa["source"], dst=sa["destination"])
        self.esp = self.ah = None
        if "esp" in sa:
            self.esp = self.of_esp(sa["esp"], header, UDP(sport=4500, dport=4500) if has_udp(sa) else None)
        if "ah" in sa:
            ah = sa["ah"]
            self.ah = SecurityAssociation(
                AH,
                spi=int(ah["spi"], 16),
                seq_num=ah["sequence"],
                auth_algo="HMAC-SHA1-96",
                auth_key=key_of(ah["authentication"]),
                # Within AH the tunnel is ESP's.
                tunnel_header=None if self.esp else header,
                esn_en=ah.get("esn", False),
                esn=ah.get("sequence_high", 0),
            )
            self.ah.auth_algo = for_ah(ah["authentication"]["algorithm"])

    @staticmethod
    def of_esp(esp, header, udp):
        encryption = esp["encryption"]
        authentication = esp.get("authentication") or {"algorithm": None, "key": ""}
        crypt, auth = encryption, authentication
        if authentication["algorithm"] in GMAC:
            crypt, auth = authentication, {"algorithm": None, "key": ""}
        return SecurityAssociation(
            ESP,
            spi=int(esp["spi"], 16),
            seq_num=esp["sequence"],
            crypt_algo="AES-NULL-GMAC" if crypt is not encryption else CRYPT[crypt["algorithm"]],
            crypt_key=key_of(crypt),
            crypt_icv_size=encryption.get("icv_length"),
            auth_algo=AUTH[auth["algorithm"]],
            auth_key=bytes.fromhex(auth["key"]),
            tunnel_header=header,
            nat_t_header=udp,
            esn_en=esp.get("esn", False),
            esn=esp.get("sequence_high", 0),
        )

    def takes(self, packet, carriers):
        if self.selector:
            addresses = [ipaddress.ip_address(packet.src), ipaddress.ip_address(packet.dst)]
            return all(a.version == n.version and a in n for a, n in zip(addresses, self.selector))
        if self.tunnel:
            return self.sa["name"] not in carriers and (":" in self.sa["source"]) == (packet.version == 6)
        return (self.sa["source"], self.sa["destination"]) == (packet.src, packet.dst)

    def encrypt(self, packet):
        for association in (self.esp, self.ah):
            if association:
                packet = association.encrypt(packet)
                packet = packet.__class__(bytes(packet))
        return packet

    def decrypt(self, packet):
        for association in (self.ah, self.esp):
            if association:
                packet = parse(bytes(association.decrypt(packet)))
        return packet


def parse(data):
    return (IPv6 if data[0] >> 4 == 6 else IP)(data)


def load(path):
    with open(path) as file:
        return [Bundle(sa) for sa in json.load(file)["sas"]]


def network_layer(frame):
    """The IP packet of an Ethernet frame, without link padding, or None."""
    ethertype, rest = frame[12:14], frame[14:]
    try:
        if ethertype == b"\x08\x00":
            return IP(rest[: int.from_bytes(rest[2:4], "big")])
        if ethertype == b"\x86\xdd":
            return IPv6(rest[: 40 + int.from_bytes(rest[4:6], "big")])
    except Exception:  # scapy raises whatever comes along on malformed packets
        pass
    return None


def protectable(frame, packet):
    if frame[0] & 1 or ipaddress.ip_address(packet.dst).is_multicast:
        return False
    if packet.haslayer(IPv6ExtHdrFragment) or packet.haslayer(ESP) or packet.haslayer(AH):
        return False
    if packet.version == 4 and (packet.flags.MF or packet.frag):
        return False
    if packet.haslayer(UDP) and {packet[UDP].sport, packet[UDP].dport} & {500, 4500}:
        return False
    # Neighbour discovery.
    if packet.version == 6 and packet.nh == 58 and 133 <= bytes(packet.payload)[0] <= 137:
        return False
    return True


def linked(frame, packet):
    """The packet behind the addresses of `frame`, with the EtherType of its version."""
    ethertype = b"\x86\xdd" if packet.version == 6 else b"\x08\x00"
    return frame[:12] + ethertype + bytes(packet)


def received_by(bundles, packet):
    """The SA of the outermost IPsec header."""
    for layer, member in ((AH, "ah"), (ESP, "esp")):
        if packet.haslayer(layer):
            for bundle in bundles:
                sa = getattr(bundle, member)
                if sa and (sa.spi, bundle.sa["destination"]) == (packet[layer].spi, packet.dst):
                    return bundle
            return None
    return None


def decrypt(bundles, frame, packet):
    """The plain frame, or None if no SA is for it."""
    bundle = received_by(bundles, packet)
    if bundle is None:
        return None
    packet = bundle.decrypt(packet)
    if bundle.tunnel:
        return decrypt(bundles, frame, packet) or linked(frame, packet)
    return linked(frame, packet)


def encrypt(bundles, frame, packet):
    carriers = {bundle.sa["tunnel"] for bundle in bundles if "tunnel" in bundle.sa}
    bundle = next((b for b in bundles if b.takes(packet, carriers)), None)
    if bundle is None or not protectable(frame, packet):
        return None
    packet = bundle.encrypt(packet)
    if "tunnel" in bundle.sa:
        outer = next(b for b in bundles if b.sa["name"] == bundle.sa["tunnel"])
        packet = outer.encrypt(packet)
    return linked(frame, packet)


def main():
    command, sas, source, target = sys.argv[1:]
    bundles = load(sas)
    work = {"decrypt": decrypt, "encrypt": encrypt}[command]
    packets, processed, failed = 0, 0, []
    writer = RawPcapWriter(target, linktype=1)
    writer.write_header(None)
    for frame, metadata in RawPcapReader(source):
        packets += 1
        packet = network_layer(frame)
        result = None
        if packet is not None:
            try:
                result = work(bundles, frame, packet)
                processed += result is not None
            except IPSecIntegrityError:
                failed.append(packets)
        writer.write_packet(result or frame, sec=metadata.sec, usec=metadata.usec)
    writer.close()
    print(json.dumps({"packets": packets, "processed": processed, "failed": failed}))


main()
