"""Draws the records of the store `bifurcation`, as `eciton scan bifurcation --json` prints them, as a PNG image."""

import json
import struct
import sys
import zlib


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def main():
    records = [json.loads(line) for line in sys.stdin if line.strip()]
    # The first bin has what is below all edges, the last one what is above them: nothing.
    columns = [[bin["count"] for bin in record["value"]["density"][1:-1]] for record in records]
    if not columns:
        sys.exit("no records on standard input; expected those of `eciton scan bifurcation --json`")
    width, height = len(columns), len(columns[0])
    rows = bytearray()
    for y in reversed(range(height)):
        rows.append(0)
        for column in columns:
            # The fourth root: a point that one orbit in a hundred visits is seen beside one that all visit.
            share = (column[y] / sum(column)) ** 0.25
            rows.append(round(255 * (1 - share)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    image += chunk(b"IDAT", zlib.compress(bytes(rows), 9)) + chunk(b"IEND", b"")
    sys.stdout.buffer.write(image)


main()
