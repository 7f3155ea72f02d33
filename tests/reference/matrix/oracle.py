#!/usr/bin/env python3
"""The oracle of the matrix test: seals and opens packets, in software that the driver shares nothing with.

A request on standard input is a line of JSON, with the bytes that it speaks of right behind it:

    {"by": "scapy" | "rfc",
     "headers": [{"protocol": "esp" | "ah", "parameters": {...}, "tunnel": hex, "udp": hex}, ...],
     "seal": [{"packet": n, "steps": [{"sequence": n, "iv": n, "flip": [n, bits]}, ...]}, ...],
     "open": [{"packet": n, "high": [n, ...]}, ...],
     "bytes": n}

`packet` and `iv` are numbers of bytes, in the order of the request, `bytes` is their sum. `headers` go from the inside
to the outside; `parameters` are the members `esp` and `ah` of sas.json; `tunnel` is an IP header for tunnel mode,
`udp` a header for UDP encapsulation. `flip` is a byte of the packet, and the bits to be changed in it after the step.
`high` are the high halves of the sequence numbers. So is the answer, where a packet that is sealed is as it was after
each step, and one that cannot be opened is null:

    {"sealed": [[n, ...], ...], "opened": [n | null, ...], "why": [text | null, ...]}
"""

import json
import sys

import rfc


class Bytes:
    """The bytes behind a request."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]


def header(by, one):
    tunnel, udp = (bytes.fromhex(one[key]) if one.get(key) else None for key in ("tunnel", "udp"))
    if by == "scapy":
        import by_scapy

        return by_scapy.Header(one["protocol"], one["parameters"], tunnel, udp)
    if one["protocol"] == "esp":
        return rfc.Esp(one["parameters"], tunnel, udp)
    return rfc.Ah(one["parameters"], tunnel)


def seal(all_headers, case, data):
    packet, packets = data.take(case["packet"]), []
    for one, step in zip(all_headers, case["steps"], strict=True):
        packet = one.seal(packet, step["sequence"], data.take(step["iv"]))
        if "flip" in step:
            at, bits = step["flip"]
            packet = packet[:at] + bytes([packet[at] ^ bits]) + packet[at + 1 :]
        packets.append(packet)
    return packets


def opened(all_headers, case, data):
    packet = data.take(case["packet"])
    try:
        for one, high in zip(reversed(all_headers), reversed(case["high"]), strict=True):
            packet = one.open(packet, high)
        return packet, None
    except (rfc.Integrity, ValueError, IndexError, TypeError) as error:
        return None, f"{type(error).__name__}: {error}"


def main():
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = json.loads(line)
        data = Bytes(source.read(request["bytes"]))
        all_headers = [header(request["by"], one) for one in request["headers"]]
        sealed = [seal(all_headers, case, data) for case in request["seal"]]
        results = [opened(all_headers, case, data) for case in request["open"]]
        answer = {
            "sealed": [[len(packet) for packet in packets] for packets in sealed],
            "opened": [None if packet is None else len(packet) for packet, _ in results],
            "why": [why for _, why in results],
        }
        target.write(json.dumps(answer).encode() + b"\n")
        target.writelines(packet for packets in sealed for packet in packets)
        target.writelines(packet for packet, _ in results if packet is not None)
        target.flush()


main()
