"""IP headers, as far as IPsec must know them. Written from RFC 791, RFC 8200, RFC 4302 and RFC 4303."""

import struct

IPV4, UDP, IPV6, ROUTING, FRAGMENT, ESP, AH, DESTINATION = 4, 17, 41, 43, 44, 50, 51, 60
HOP_BY_HOP = 0


def checksum(header):
    """RFC 1071, of an IPv4 header whose checksum counts as zero."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header)) - int.from_bytes(header[10:12], "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def insertion_point(packet):
    """Where IPsec headers of transport mode go, and the byte that names the protocol there.

    Behind the IPv4 options; behind the IPv6 headers that every hop reads: hop-by-hop options,
    routing, and destination options in front of a routing header (RFC 4303 section 3.1.1).
    """
    if packet[0] >> 4 == 4:
        return (packet[0] & 15) * 4, 9
    chain = []
    kind, at = packet[6], 40
    while kind in (HOP_BY_HOP, ROUTING, DESTINATION):
        chain.append((kind, at))
        kind, at = packet[at], at + (packet[at + 1] + 1) * 8
    point, field = 40, 6
    last = max((i for i, (kind, _) in enumerate(chain) if kind in (HOP_BY_HOP, ROUTING)), default=-1)
    for _, at in chain[: last + 1]:
        point, field = at + (packet[at + 1] + 1) * 8, at
    return point, field


def protocol_at(packet, wanted):
    """Where the first header of the kind `wanted` is, and the byte that names it."""
    if packet[0] >> 4 == 4:
        at, field, kind = (packet[0] & 15) * 4, 9, packet[9]
    else:
        at, field, kind = 40, 6, packet[6]
        while kind in (HOP_BY_HOP, ROUTING, DESTINATION) and kind != wanted:
            kind, field, at = packet[at], at, at + (packet[at + 1] + 1) * 8
    if kind != wanted:
        raise ValueError(f"protocol {kind} instead of {wanted}")
    return at, field


def with_length(packet):
    """The packet with its length field, and IPv4's checksum, set right."""
    packet = bytearray(packet)
    if packet[0] >> 4 == 4:
        struct.pack_into("!H", packet, 2, len(packet))
        length = (packet[0] & 15) * 4
        struct.pack_into("!H", packet, 10, checksum(packet[:length]))
    else:
        struct.pack_into("!H", packet, 4, len(packet) - 40)
    return bytes(packet)


def insert(packet, protocol, header):
    """The packet with `header(next header, payload)` in the place of its payload."""
    at, field = insertion_point(packet)
    start = bytearray(packet[:at])
    next_header, start[field] = start[field], protocol
    return with_length(bytes(start) + header(next_header, packet[at:]))


def into_tunnel(outer, packet):
    """The packet behind the IP header `outer`."""
    outer = bytearray(outer)
    outer[9 if outer[0] >> 4 == 4 else 6] = IPV4 if packet[0] >> 4 == 4 else IPV6
    return with_length(bytes(outer) + packet)
