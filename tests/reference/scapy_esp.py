#!/usr/bin/env python3
"""ESP by scapy's IPsec layer: the independent opinion on our captures.

    scapy_esp.py decrypt SAS.json WIRE.pcap PLAIN.pcap   plain packets out of ESP
    scapy_esp.py encrypt SAS.json PLAIN.pcap WIRE.pcap   ESP out of plain packets

Packets that no SA takes are copied. The last line of the output is a JSON object:
how many packets, how many were processed, and the numbers of those that failed.

scapy's AES-GCM knows only ICVs of 16 bytes.
"""

import ipaddress
import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.ipsec import AH, ESP, IPSecIntegrityError, SecurityAssociation
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


def load(path):
    with open(path) as file:
        document = json.load(file)
    # Of tunnels one per family, for all packets of it.
    by_spi, by_addresses, tunnels = {}, {}, {}
    for sa in document["sas"]:
        esp = sa["esp"]
        encryption = esp["encryption"]
        authentication = esp.get("authentication") or {"algorithm": None, "key": ""}
        crypt, auth = encryption, authentication
        if authentication["algorithm"] in GMAC:
            crypt, auth = authentication, {"algorithm": None, "key": ""}
        tunnel = None
        if sa.get("mode") == "tunnel":
            header = IPv6 if ":" in sa["source"] else IP
            tunnel = header(src=sa["source"], dst=sa["destination"])
        association = SecurityAssociation(
            ESP,
            spi=int(esp["spi"], 16),
            seq_num=esp["sequence"],
            crypt_algo="AES-NULL-GMAC" if crypt is not encryption else CRYPT[crypt["algorithm"]],
            crypt_key=bytes.fromhex(crypt.get("key", "") + crypt.get("salt", "")),
            crypt_icv_size=encryption.get("icv_length"),
            auth_algo=AUTH[auth["algorithm"]],
            auth_key=bytes.fromhex(auth["key"]),
            tunnel_header=tunnel,
            esn_en=esp.get("esn", False),
            esn=esp.get("sequence_high", 0),
        )
        by_spi[(association.spi, sa["destination"])] = association
        if tunnel is not None:
            tunnels[6 if ":" in sa["source"] else 4] = association
        else:
            by_addresses[(sa["source"], sa["destination"])] = association
    return by_spi, by_addresses, tunnels


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


def main():
    command, sas, source, target = sys.argv[1:]
    by_spi, by_addresses, tunnels = load(sas)
    packets, processed, failed = 0, 0, []
    writer = RawPcapWriter(target, linktype=1)
    writer.write_header(None)
    for frame, metadata in RawPcapReader(source):
        packets += 1
        packet = network_layer(frame)
        result = frame
        if packet is not None and command == "decrypt" and packet.haslayer(ESP):
            association = by_spi.get((packet[ESP].spi, packet.dst))
            if association:
                try:
                    result = frame[:14] + bytes(association.decrypt(packet))
                    processed += 1
                except IPSecIntegrityError:
                    failed.append(packets)
        elif packet is not None and command == "encrypt" and protectable(frame, packet):
            association = by_addresses.get((packet.src, packet.dst))
            association = association or tunnels.get(packet.version)
            if association:
                result = frame[:14] + bytes(association.encrypt(packet))
                processed += 1
        writer.write_packet(result, sec=metadata.sec, usec=metadata.usec)
    writer.close()
    print(json.dumps({"packets": packets, "processed": processed, "failed": failed}))


main()
