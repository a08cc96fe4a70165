"""Whole numbers, not below zero, in as few bytes as they need.

Seven bits a byte, the lowest first; the eighth says that more follow (LEB128).
"""

from collections.abc import Iterable


def to_bytes(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def from_bytes(data: bytes | memoryview) -> list[int]:
    """Read what `to_bytes` wrote."""
    found, number, shift = [], 0, 0
    for byte in bytes(data):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(number)
            number = shift = 0
    return found
