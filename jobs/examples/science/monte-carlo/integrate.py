"""Monte Carlo integration of a ball's volume, with a random stream per sample.

Each sample `i` draws its point from Philox4x32-10, a counter-based generator: a function of the key and of the counter
`i`, without any state. So sample `i` is the same point in whichever shard it is, and the sum over all samples does
not depend on how they are cut or on how many workers there are.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel Random Numbers: As Easy as 1, 2, 3. SC11, 2011,
https://doi.org/10.1145/2063384.2063405. Constants and test vectors are those of its reference implementation, Random123.
"""

import json
import sys

MASK = 0xFFFFFFFF
KEY = (2013, 1)


def philox4x32(counter, key, rounds=10):
    """Four random words of 32 bits for a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & MASK,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def check():
    """The known answers of Random123 (tests/kat_vectors)."""
    assert philox4x32((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = (MASK, MASK, MASK, MASK)
    assert philox4x32(ones, (MASK, MASK)) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


def main():
    check()
    inside = {2: 0, 3: 0, 4: 0}
    samples = 0
    for line in sys.stdin:
        i = json.loads(line)["i"]
        point = [word / 2**31 - 1 for word in philox4x32((i & MASK, i >> 32, 0, 0), KEY)]
        samples += 1
        for dimension in inside:
            inside[dimension] += sum(x * x for x in point[:dimension]) <= 1
    for dimension, hits in inside.items():
        print(json.dumps({"dimension": dimension, "inside": hits, "samples": samples}))


main()
