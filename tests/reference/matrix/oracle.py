#!/usr/bin/env python3
"""The oracle of the matrix test: seals and opens packets, in software that the driver shares nothing with.

A line on standard input is a JSON object, and one line of JSON answers it:

    {"by": "scapy" | "rfc",
     "headers": [{"protocol": "esp" | "ah", "parameters": {...}, "tunnel": hex, "udp": hex}, ...],
     "seal": [{"packet": hex, "steps": [{"sequence": n, "iv": hex, "flip": [n, bits]}, ...]}, ...],
     "open": [{"packet": hex, "high": [n, ...]}, ...]}
    {"sealed": [[hex, ...], ...], "opened": [hex | null, ...], "why": [...]}

`headers` go from the inside to the outside; `parameters` are the members `esp` and `ah` of sas.json; `tunnel` is an
IP header for tunnel mode, `udp` a header for UDP encapsulation. A packet that is sealed is given back as it was after
each step; `flip` is a byte of the packet, and the bits to be changed in it after the step. `high` are the high halves
of the sequence numbers. A packet that cannot be opened is null, and why it could not is said.
"""

import json
import sys

import rfc


def header(by, one):
    tunnel, udp = (bytes.fromhex(one[key]) if one.get(key) else None for key in ("tunnel", "udp"))
    if by == "scapy":
        import by_scapy

        return by_scapy.Header(one["protocol"], one["parameters"], tunnel, udp)
    if one["protocol"] == "esp":
        return rfc.Esp(one["parameters"], tunnel, udp)
    return rfc.Ah(one["parameters"], tunnel)


def seal(all_headers, case):
    packet, packets = bytes.fromhex(case["packet"]), []
    for one, step in zip(all_headers, case["steps"], strict=True):
        packet = one.seal(packet, step["sequence"], bytes.fromhex(step["iv"]))
        if "flip" in step:
            at, bits = step["flip"]
            packet = packet[:at] + bytes([packet[at] ^ bits]) + packet[at + 1 :]
        packets.append(packet.hex())
    return packets


def opened(all_headers, case):
    packet = bytes.fromhex(case["packet"])
    try:
        for one, high in zip(reversed(all_headers), reversed(case["high"]), strict=True):
            packet = one.open(packet, high)
        return packet.hex(), None
    except (rfc.Integrity, ValueError, IndexError, TypeError) as error:
        return None, f"{type(error).__name__}: {error}"


def main():
    for line in sys.stdin:
        request = json.loads(line)
        all_headers = [header(request["by"], one) for one in request["headers"]]
        results = [opened(all_headers, case) for case in request.get("open", [])]
        answer = {
            "sealed": [seal(all_headers, case) for case in request.get("seal", [])],
            "opened": [packet for packet, _ in results],
            "why": [why for _, why in results],
        }
        print(json.dumps(answer), flush=True)


main()
