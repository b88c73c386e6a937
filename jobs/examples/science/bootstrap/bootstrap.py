"""Bootstrap replicates of sums over rows, in one pass over them.

A replicate draws as many rows as there are, with replacement. Here each row is drawn a number of times of its own, from a
Poisson distribution with mean 1: nothing is known of the other rows, so that rows can be in any shard. The number comes from a
counter-based random stream whose counter names the row and the replicate, so it is the same for any cut and any number of
workers.

B. Efron: Bootstrap methods: another look at the jackknife. The Annals of Statistics 7, 1979,
https://doi.org/10.1214/aos/1176344552. N. Chamandy, O. Muralidharan, A. Najmi, S. Naidu: Estimating uncertainty for massive
data streams. Google, 2012: the Poisson bootstrap. The random stream: see ../monte-carlo/integrate.py.
"""

import bisect
import json
import math
import sys

MASK = 0xFFFFFFFF
KEY = (1979, 2)
REPLICATES = 96
# Words of 16 bits that one counter gives.
DRAWS = 8
# The distribution of the number of times that a row is drawn, in parts of 2^16: beyond 7 times there is less than one part.
ENDS = [round(2**16 * sum(math.exp(-1) / math.factorial(k) for k in range(n + 1))) for n in range(8)]


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


def times(row):
    """How often each replicate draws a row."""
    day = row["year"] * 10_000 + row["month"] * 100 + row["day"]
    carrier = int.from_bytes(row["carrier"].encode(), "big")
    for block in range(REPLICATES // DRAWS):
        for word in philox4x32((day, carrier, row["flight"], block), KEY):
            for half in (word & 0xFFFF, word >> 16):
                yield bisect.bisect_right(ENDS, half)


def main():
    sums = {}
    for line in sys.stdin:
        row = json.loads(line)
        delay = row["arr_delay"]
        if delay is None:
            continue
        weights, totals = sums.setdefault(
            row["carrier"], ([0] * (REPLICATES + 1), [0] * (REPLICATES + 1))
        )
        for replicate, count in enumerate([1, *times(row)]):
            weights[replicate] += count
            totals[replicate] += count * delay
    for carrier, (weights, totals) in sums.items():
        for replicate, (weight, total) in enumerate(zip(weights, totals)):
            record = {"carrier": carrier, "replicate": replicate, "weight": weight, "total": total}
            print(json.dumps(record))


main()
