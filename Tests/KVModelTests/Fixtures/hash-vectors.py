"""Writes murmur3-x64-128.txt and xxh3.txt beside itself: pip install mmh3==5.3.1 xxhash==4.1.0; python3 hash-vectors.py

The input of length n is the bytes (7*i + n) mod 256 for i in 0..<n. Lines: seed, length, digest halves, hexadecimal.
"""
import pathlib
from importlib.metadata import version

import mmh3
import xxhash

here = pathlib.Path(__file__).parent
SEEDS32 = [0, 1, 0x9747B28C, 0xFFFFFFFF]
SEEDS64 = [0, 1, 0x9E3779B185EBCA8D]


def data(n):
    return bytes((7 * i + n) % 256 for i in range(n))


with open(here / "murmur3-x64-128.txt", "w") as out:
    out.write("# seed length first second; made by hash-vectors.py with PyPI's mmh3 %s\n" % version("mmh3"))
    for seed in SEEDS32:
        for n in range(256):
            first, second = mmh3.hash64(data(n), seed, x64arch=True, signed=False)
            out.write("%x %d %016x %016x\n" % (seed, n, first, second))

with open(here / "xxh3.txt", "w") as out:
    out.write("# seed length xxh3-64 xxh3-128-high xxh3-128-low; made by hash-vectors.py with PyPI's xxhash %s\n" % version("xxhash"))
    for seed in SEEDS64:
        for n in range(301):
            wide = xxhash.xxh3_128_intdigest(data(n), seed)
            out.write("%x %d %016x %016x %016x\n" % (seed, n, xxhash.xxh3_64_intdigest(data(n), seed), wide >> 64, wide & (2**64 - 1)))
