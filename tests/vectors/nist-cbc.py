#!/usr/bin/env python3
"""Makes nist-cbc/*.txt from the CBC vectors of NIST that cryptography-vectors carries.

    pip download --no-deps cryptography-vectors && unzip cryptography_vectors-*.whl
    nist-cbc.py cryptography_vectors
"""
import pathlib
import sys

SETS = {
    "aes": ("ciphers/AES/CBC", ["CBCGFSbox", "CBCKeySbox", "CBCMMT", "CBCVarTxt"]),
    "tdes": ("ciphers/3DES/CBC", ["TCBCMMT", "TCBCinvperm", "TCBCpermop", "TCBCsubtab", "TCBCvarkey", "TCBCvartext"]),
}


def cases(path):
    case = {}
    for line in path.read_text().splitlines() + [""]:
        name, equals, value = (part.strip() for part in line.partition("="))
        if equals:
            case[name.upper()] = value.lower()
        elif case:
            if "CIPHERTEXT" in case:
                if "KEYS" in case:
                    case["KEY"] = case["KEYS"] * 3
                elif "KEY1" in case:
                    case["KEY"] = case["KEY1"] + case["KEY2"] + case["KEY3"]
                yield " ".join(case[name] for name in ("KEY", "IV", "PLAINTEXT", "CIPHERTEXT"))
            case = {}


def main():
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent / "nist-cbc"
    target.mkdir(exist_ok=True)
    for name, (folder, prefixes) in SETS.items():
        lines = [
            f"# NIST CAVP, {', '.join(prefixes)} of {folder}.",
            "# key iv plaintext ciphertext",
        ]
        for prefix in prefixes:
            for path in sorted((source / folder).glob(prefix + "*.rsp")):
                lines += dict.fromkeys(cases(path))
        (target / f"{name}.txt").write_text("\n".join(lines) + "\n")


main()
