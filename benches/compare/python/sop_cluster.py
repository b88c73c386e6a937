#!/usr/bin/env python3
"""A process of the side `sop` of `eciton-benches cluster`: called by the program, with SOP's Python package.

    pip install sop4py==2.3.3
    eciton-benches cluster --only ours,sop

    sop_cluster.py prepare WORK FOLDER REDIS
    sop_cluster.py work WORK FOLDER REDIS PROCESS CLIENTS MILLISECONDS
    sop_cluster.py count WORK FOLDER REDIS

Clustered as its documentation says, all processes at one folder and one Redis; a thread a client, each of which commits
one record a transaction and tries again where that fails. It never syncs what it writes to the disc. SOP merges nothing by
itself: what adds to a key reads it, and replaces it.
"""

import json
import math
import sys
import threading
import time
from urllib.parse import urlparse

from sop import Btree, BtreeOptions, Context, Database, DatabaseOptions, Item
from sop.transaction import DatabaseType, RedisCacheConfig

STORE = "records"
KEY = "the one"


def key(work, process, client, number):
    if work == "disjoint_keys":
        return f"{process:04}/{client:04}/{number:08}"
    if work == "keys_of_one_node":
        return f"{number:08}/{process:04}/{client:04}"
    return KEY


def value(process, client, number):
    return f"{process}/{client}/{number}".ljust(100, ".")


def bucket(seconds):
    return int(math.log(max(seconds * 1e6, 1.0)) / math.log(1.05))


def database(folder, redis):
    address = urlparse(redis)
    config = RedisCacheConfig(address=f"{address.hostname}:{address.port}")
    options = DatabaseOptions(stores_folders=[folder], type=DatabaseType.Clustered, redis_config=config)
    return Database(options)


def prepare(work, folder, redis):
    context, base = Context(), database(folder, redis)
    transaction = base.begin_transaction(context)
    tree = base.new_btree(context, STORE, transaction, BtreeOptions(name=STORE, is_unique=True))
    # A tree without a record cannot be opened by two at once.
    tree.add(context, Item(key="!", value="first"))
    if work in ("add_to_one_key", "replace_one_key"):
        tree.add(context, Item(key=KEY, value="0"))
    transaction.commit(context)


def commit(base, context, work, process, client, number):
    transaction = base.begin_transaction(context)
    try:
        tree = Btree.open(context, STORE, transaction)
        name = key(work, process, client, number)
        if work == "add_to_one_key":
            before = tree.get_values(context, [Item(key=name)])[0].value
            done = tree.update(context, Item(key=name, value=str(int(before) + 1)))
        elif work == "replace_one_key":
            done = tree.update(context, Item(key=name, value=value(process, client, number)))
        else:
            done = tree.add(context, Item(key=name, value=value(process, client, number)))
        if not done:
            raise RuntimeError(f"{name} was not written")
        transaction.commit(context)
    except BaseException:
        try:
            transaction.rollback(context)
        except Exception:
            # It has ended already.
            pass
        raise


def work(work, folder, redis, process, clients, milliseconds):
    base = database(folder, redis)
    over = threading.Event()
    done = {"in_time": 0, "commits": 0, "conflicts": 0}
    latency, lock = [], threading.Lock()

    def one(client):
        context, number = Context(), 0
        while not over.is_set():
            begun, lost = time.perf_counter(), 0
            while True:
                try:
                    commit(base, context, work, process, client, number)
                    break
                except Exception as error:
                    lost += 1
                    if over.is_set():
                        # Nobody was told that it is there.
                        return
                    if lost == 1000:
                        sys.exit(f"sop: {error}")
            taken, number = bucket(time.perf_counter() - begun), number + 1
            with lock:
                done["commits"] += 1
                done["conflicts"] += lost
                if not over.is_set():
                    done["in_time"] += 1
                    latency.extend([0] * (taken + 1 - len(latency)))
                    latency[taken] += 1

    print("ready", flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=one, args=(client,)) for client in range(clients)]
    cpu = time.process_time()
    for thread in threads:
        thread.start()
    time.sleep(milliseconds / 1000)
    over.set()
    for thread in threads:
        thread.join()
    told = dict(done, latency=latency, cpu_seconds=time.process_time() - cpu, written=0)
    print(json.dumps(told), flush=True)


def count(work, folder, redis):
    context, base = Context(), database(folder, redis)
    transaction = base.begin_transaction(context, mode=2)
    tree = Btree.open(context, STORE, transaction)
    if work == "add_to_one_key":
        print(tree.get_values(context, [Item(key=KEY)])[0].value)
    elif work == "replace_one_key":
        print(tree.count() - 1)
    else:
        print(tree.count() - 1)
    transaction.commit(context)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    numbers = [int(number) for number in rest[3:]]
    {"prepare": prepare, "work": work, "count": count}[what](*rest[:3], *numbers)
