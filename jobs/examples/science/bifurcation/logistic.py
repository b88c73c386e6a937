"""Orbits of the logistic map x -> r x (1 - x), after they have settled.

R. M. May: Simple mathematical models with very complicated dynamics. Nature 261, 1976, https://doi.org/10.1038/261459a0.
For r < 3 an orbit ends in one point, then in two, four, and so on; from r = 3.56995 on most orbits are chaotic.
"""

import json
import sys

FIRST, LAST, COLUMNS = 2.8, 4.0, 600
SETTLING, KEPT = 2000, 400


def main():
    for line in sys.stdin:
        column = json.loads(line)["i"]
        r = FIRST + (LAST - FIRST) * column / COLUMNS
        x = 0.5 + 1 / 64
        for _ in range(SETTLING):
            x = r * x * (1 - x)
        for _ in range(KEPT):
            x = r * x * (1 - x)
            print(json.dumps({"column": column, "x": x}))


main()
