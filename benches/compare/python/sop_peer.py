#!/usr/bin/env python3
"""The lines of `engines` that SOP's Python package can do, for a recording beside ours.

    pip install sop4py==2.3.3
    python3 benches/compare/python/sop_peer.py --items 100000 --dir FOLDER [--runs 3]

The last line on stdout is JSON: for each line the rates of all runs. SOP calls its Go library with JSON
texts, in batches where its interface has them (BATCH); what a batch costs in Python counts, as it does for its
users. It never syncs what it writes to the disc: its commits are not durable when they return, ours are.
Every answer is compared with what must be found; a difference ends the program with an error.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time

from sop import Btree, BtreeOptions, Context, Database, DatabaseOptions, Item, PagingInfo

BATCH = 1000
GET_BATCH = 500
COMMITS = 200
STORE = "records"


def key(number):
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=8).hexdigest()


def value(number, version=0):
    half = hashlib.blake2b(number.to_bytes(8, "big") + version.to_bytes(8, "big"), digest_size=25).hexdigest()
    return half + "." * 50


def chunks(numbers, length):
    for at in range(0, len(numbers), length):
        yield numbers[at : at + length]


def expect(is_so, what):
    if not is_so:
        sys.exit(f"sop: wrong answer: {what}")


def timed(work):
    begun = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - begun)


def folder_len(folder):
    lens = (os.stat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)
    return sum(lens) / 1e6


def run(folder, items, seed):
    context = Context()
    database = Database(DatabaseOptions(stores_folders=[folder]))
    numbers = list(range(items))
    shuffled = numbers[:]
    random.Random(seed).shuffle(shuffled)
    lines = {}

    def writing(work):
        transaction = database.begin_transaction(context)
        tree = Btree.open(context, STORE, transaction)
        result = work(tree)
        transaction.commit(context)
        return result

    def reading(work):
        transaction = database.begin_transaction(context, mode=2)
        tree = Btree.open(context, STORE, transaction)
        result = work(tree)
        transaction.commit(context)
        return result

    def load():
        transaction = database.begin_transaction(context)
        options = BtreeOptions(name=STORE, is_unique=True, slot_length=1000)
        tree = database.new_btree(context, STORE, transaction, options)
        for batch in chunks(shuffled, BATCH):
            records = [Item(key=key(number), value=value(number)) for number in batch]
            expect(tree.add(context, records), "a batch was not added")
        transaction.commit(context)
        return items

    lines["load_random"] = timed(load)
    lines["size_loaded"] = folder_len(folder)

    def commits():
        for number in range(items, items + COMMITS):
            record = Item(key=key(number), value=value(number))
            expect(writing(lambda tree: tree.add(context, record)), "a record was not added")
        return COMMITS

    lines["commit_1_thread"] = timed(commits)

    def gets():
        wanted = shuffled[: items // 2]

        def read(tree):
            for batch in chunks(wanted, GET_BATCH):
                found = tree.get_values(context, [Item(key=key(number)) for number in batch])
                expect([item.value for item in found] == [value(number) for number in batch], "values differ")
            return len(wanted)

        return reading(read)

    lines["get_1_thread"] = timed(gets)

    def scan():
        def read(tree):
            count, last = 0, ""
            expect(tree.first(context), "there is no first record")
            # Behind the last record it begins again with the first.
            while count < items + COMMITS:
                page = tree.get_items(context, PagingInfo(page_offset=0, page_size=BATCH, fetch_count=BATCH))
                expect(page, f"the scan ends after {count} records")
                for item in page:
                    expect(last < item.key, f"keys are not in order: {item.key} after {last}, record {count}")
                    last = item.key
                count += len(page)
            return count

        count = reading(read)
        expect(count == items + COMMITS, f"{count} records scanned, there are {items + COMMITS}")
        return count

    lines["scan_full"] = timed(scan)

    def deletes():
        gone = shuffled[: items // 10]

        def work(tree):
            for batch in chunks(gone, BATCH):
                expect(tree.remove(context, [key(number) for number in batch]), "a batch was not removed")
            return len(gone)

        return writing(work)

    lines["delete_tenth"] = timed(deletes)
    lines["size_end"] = folder_len(folder)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", help="where the databases are made: on the disc that is meant")
    call = parser.parse_args()
    runs = {}
    for seed in range(call.runs):
        folder = tempfile.mkdtemp(prefix="sop-", dir=call.dir)
        try:
            for line, figure in run(folder, call.items, seed).items():
                runs.setdefault(line, []).append(figure)
                print(f"{line:20} {figure:14.1f}", file=sys.stderr)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"peer": "sop4py 2.3.3", "items": call.items, "runs": runs}))


if __name__ == "__main__":
    main()
