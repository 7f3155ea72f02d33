"""ESP, AH and UDP encapsulation straight from the RFCs, with the primitives of OpenSSL (PyPI cryptography).

RFC 4303 ESP, RFC 4302 AH, RFC 4106 AES-GCM, RFC 4543 AES-GMAC, RFC 3602 AES-CBC, RFC 2405 DES-CBC, RFC 2451
3DES-CBC, RFC 2403, 2404 and 4868 the HMACs, RFC 3948 UDP encapsulation. No line of scapy is used here.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

import headers


class Integrity(Exception):
    """The ICV is wrong, or the packet has not the form that it should have."""


class Hmac:
    """RFC 2403, 2404, 4868: an HMAC cut to half its length or to 96 bits."""

    KINDS = {"md5": (hashes.MD5, 12), "sha-1": (hashes.SHA1, 12), "sha-256": (hashes.SHA256, 16)}
    iv_len = 0

    def __init__(self, kind, key):
        digest, self.icv_len = self.KINDS[kind]
        self.keyed = hmac.HMAC(key, digest())

    def tag(self, parts, _iv=b""):
        mac = self.keyed.copy()
        for part in parts:
            mac.update(part)
        return mac.finalize()[: self.icv_len]


class Gmac:
    """RFC 4543: the nonce is salt and IV; everything is additional data."""

    iv_len, icv_len = 8, 16

    def __init__(self, key, salt):
        self.aes, self.salt = AES(key), salt

    def tag(self, parts, iv):
        mac = Cipher(self.aes, modes.GCM(self.salt + iv)).encryptor()
        for part in parts:
            mac.authenticate_additional_data(part)
        mac.finalize()
        return mac.tag


class Null:
    iv_len, alignment = 0, 4

    def encrypt(self, _iv, text):
        return text

    decrypt = encrypt


class Cbc:
    KINDS = {"aes": AES, "des": TripleDES, "3des": TripleDES}

    def __init__(self, kind, key):
        # One key three times makes DES of Triple DES.
        self.cipher = self.KINDS[kind](key * 3 if kind == "des" else key)
        self.iv_len = self.alignment = 16 if kind == "aes" else 8

    def encrypt(self, iv, text):
        run = Cipher(self.cipher, modes.CBC(iv)).encryptor()
        return run.update(text) + run.finalize()

    def decrypt(self, iv, text):
        run = Cipher(self.cipher, modes.CBC(iv)).decryptor()
        return run.update(text) + run.finalize()


class Separate:
    """RFC 4303 section 3.3.2.1: encrypt, then authenticate all from the SPI on, and the high half of an ESN."""

    def __init__(self, cipher, mac):
        self.cipher, self.mac = cipher, mac
        self.iv_len = cipher.iv_len + (mac.iv_len if mac else 0)
        self.alignment, self.icv_len = cipher.alignment, mac.icv_len if mac else 0

    def seal(self, header, high, iv, text):
        text = self.cipher.encrypt(iv, text)
        return text, self.tag(header, high, iv, text)

    def tag(self, header, high, iv, text):
        return self.mac.tag([header, iv, text, high]) if self.mac else b""

    def open(self, header, high, iv, text, icv):
        if self.tag(header, high, iv, text) != icv:
            raise Integrity("ESP's ICV")
        return self.cipher.decrypt(iv, text)


class NullGmac:
    """RFC 4543 section 3: over SPI, sequence number, IV and text; of an ESN all 64 bits in their order."""

    iv_len, icv_len, alignment = 8, 16, 4

    def __init__(self, mac):
        self.mac = mac

    def seal(self, header, high, iv, text):
        return text, self.mac.tag([header[:4], high, header[4:], iv, text], iv)

    def open(self, header, high, iv, text, icv):
        if self.seal(header, high, iv, text)[1] != icv:
            raise Integrity("ESP's ICV")
        return text


class Gcm:
    """RFC 4106; the ICV is the tag's first bytes."""

    iv_len, alignment = 8, 4

    def __init__(self, key, salt, icv_len):
        self.aes, self.salt, self.icv_len = AES(key), salt, icv_len

    def seal(self, header, high, iv, text):
        run = Cipher(self.aes, modes.GCM(self.salt + iv)).encryptor()
        run.authenticate_additional_data(header[:4] + high + header[4:])
        text = run.update(text) + run.finalize()
        return text, run.tag[: self.icv_len]

    def open(self, header, high, iv, text, icv):
        mode = modes.GCM(self.salt + iv, icv, min_tag_length=self.icv_len)
        run = Cipher(self.aes, mode).decryptor()
        run.authenticate_additional_data(header[:4] + high + header[4:])
        try:
            return run.update(text) + run.finalize()
        except InvalidTag as error:
            raise Integrity("ESP's ICV") from error


def authenticator(name, key, salt):
    if name.startswith("aes-gmac"):
        return Gmac(key, salt)
    return Hmac({"hmac-md5-96": "md5", "hmac-sha-1-96": "sha-1", "hmac-sha-256-128": "sha-256"}[name], key)


def transform(esp):
    encryption = esp["encryption"]
    name, key = encryption["algorithm"], bytes.fromhex(encryption.get("key", ""))
    if name.startswith("aes-gcm"):
        return Gcm(key, bytes.fromhex(encryption["salt"]), encryption.get("icv_length", 16))
    mac = esp.get("authentication")
    if mac:
        mac = authenticator(mac["algorithm"], bytes.fromhex(mac["key"]), bytes.fromhex(mac.get("salt", "")))
    if isinstance(mac, Gmac):
        assert name == "null"
        return NullGmac(mac)
    return Separate(Null() if name == "null" else Cbc(name.split("-")[0], key), mac)


class Esp:
    """One ESP header: `tunnel` the IP header of tunnel mode, `udp` the header of UDP encapsulation, or None."""

    def __init__(self, parameters, tunnel, udp):
        self.spi, self.esn = int(parameters["spi"], 16), parameters.get("esn", False)
        self.transform, self.tunnel, self.udp = transform(parameters), tunnel, udp

    def high(self, sequence):
        return struct.pack("!I", sequence >> 32) if self.esn else b""

    def seal(self, packet, sequence, iv):
        def header(next_header, payload):
            start = struct.pack("!II", self.spi, sequence & 0xFFFFFFFF)
            # RFC 4303 section 2.4: monotonically increasing padding up to the boundary.
            padding = bytes(range(1, -(len(payload) + 2) % self.transform.alignment + 1))
            text = payload + padding + bytes([len(padding), next_header])
            text, icv = self.transform.seal(start, self.high(sequence), iv, text)
            esp = start + iv + text + icv
            if self.udp:
                # RFC 3948 section 2.1: the checksum should be zero.
                esp = self.udp[:4] + struct.pack("!HH", 8 + len(esp), 0) + esp
            return esp

        if self.tunnel:
            packet = headers.into_tunnel(self.tunnel, packet)
        return headers.insert(packet, headers.UDP if self.udp else headers.ESP, header)

    def open(self, packet, high):
        at, field = headers.protocol_at(packet, headers.UDP if self.udp else headers.ESP)
        esp = packet[at:]
        if self.udp:
            if esp[:4] != self.udp[:4] or esp[4:8] != struct.pack("!HH", len(esp), 0):
                raise Integrity("the UDP header")
            esp = esp[8:]
        start, rest = esp[:8], esp[8:]
        if int.from_bytes(start[:4], "big") != self.spi:
            raise Integrity("the SPI")
        end = len(rest) - self.transform.icv_len
        iv, text, icv = rest[: self.transform.iv_len], rest[self.transform.iv_len : end], rest[end:]
        text = self.transform.open(start, struct.pack("!I", high) if self.esn else b"", iv, text, icv)
        padding_len, next_header = text[-2], text[-1]
        end = len(text) - 2 - padding_len
        if end < 0 or text[end:-2] != bytes(range(1, padding_len + 1)):
            raise Integrity("the padding")
        payload = text[:end]
        if self.tunnel:
            if next_header != (headers.IPV4 if payload[0] >> 4 == 4 else headers.IPV6):
                raise Integrity("the next header")
            return payload
        start = bytearray(packet[:at])
        start[field] = next_header
        return headers.with_length(bytes(start) + payload)


class Ah:
    """One AH header."""

    def __init__(self, parameters, tunnel):
        self.spi, self.esn, self.tunnel = int(parameters["spi"], 16), parameters.get("esn", False), tunnel
        mac = parameters["authentication"]
        self.mac = authenticator(mac["algorithm"], bytes.fromhex(mac["key"]), bytes.fromhex(mac.get("salt", "")))
        # RFC 4543 section 4: the ICV field has the IV, then the tag.
        self.icv_len = self.mac.iv_len + self.mac.icv_len

    def padding(self, version):
        """RFC 4302 section 3.3.3.2.1: of the header to 4 bytes over IPv4, to 8 over IPv6."""
        return bytes(-(12 + self.icv_len) % (4 if version == 4 else 8))

    def icv(self, packet, at, high, iv):
        """Over the packet whose AH is at `at`, with zeros in its ICV and its mutable fields."""
        parts = [immutable(packet, at), packet[at : at + 12], bytes(self.icv_len)]
        parts += [packet[at + 12 + self.icv_len :], high]
        return iv + self.mac.tag(parts, iv)

    def seal(self, packet, sequence, iv):
        def header(next_header, payload):
            rest = bytes(self.icv_len) + self.padding(packet[0] >> 4)
            length = (12 + len(rest)) // 4 - 2
            start = struct.pack("!BBHII", next_header, length, 0, self.spi, sequence & 0xFFFFFFFF)
            return start + rest + payload

        if self.tunnel:
            packet = headers.into_tunnel(self.tunnel, packet)
        packet = headers.insert(packet, headers.AH, header)
        at, _ = headers.protocol_at(packet, headers.AH)
        high = struct.pack("!I", sequence >> 32) if self.esn else b""
        return packet[: at + 12] + self.icv(packet, at, high, iv) + packet[at + 12 + self.icv_len :]

    def open(self, packet, high):
        at, field = headers.protocol_at(packet, headers.AH)
        next_header, length, reserved, spi = struct.unpack_from("!BBHI", packet, at)
        length = (length + 2) * 4
        if length != 12 + self.icv_len + len(self.padding(packet[0] >> 4)) or reserved or spi != self.spi:
            raise Integrity("AH's fields")
        icv = packet[at + 12 : at + 12 + self.icv_len]
        high = struct.pack("!I", high) if self.esn else b""
        if self.icv(packet, at, high, icv[: self.mac.iv_len]) != icv:
            raise Integrity("AH's ICV")
        if self.tunnel:
            return packet[at + length :]
        start = bytearray(packet[:at])
        start[field] = next_header
        return headers.with_length(bytes(start) + packet[at + length :])


def immutable(packet, end):
    """The headers before AH with zeros for what routers may change (RFC 4302 section 3.3.3.1).

    Source routes and routing headers are used up here, as they are on arrival.
    """
    start = bytearray(packet[:end])
    if start[0] >> 4 == 4:
        start[1] = 0  # DSCP and ECN
        start[6:9] = bytes(3)  # flags, fragment offset, TTL
        start[10:12] = bytes(2)  # checksum
        at = 20
        while at < end:
            kind = start[at]
            if kind == 0:
                break
            length = 1 if kind == 1 else start[at + 1]
            # Appendix A1: NOP, security (three kinds), router alert, SDMDD do not change.
            if kind not in (1, 130, 133, 134, 148, 149):
                start[at : at + length] = bytes(length)
            at += length
        return bytes(start)
    start[0:4] = b"\x60\0\0\0"  # traffic class, flow label
    start[7] = 0  # hop limit
    kind, at = start[6], 40
    while at < end:
        length = (start[at + 1] + 1) * 8
        if kind in (headers.HOP_BY_HOP, headers.DESTINATION):
            option = at + 2
            while option < at + length:
                if start[option] == 0:
                    option += 1
                    continue
                size = start[option + 1]
                if start[option] & 0x20:
                    start[option + 2 : option + 2 + size] = bytes(size)
                option += 2 + size
        kind, at = start[at], at + length
    return bytes(start)
