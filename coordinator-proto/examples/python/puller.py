#!/usr/bin/env python3
"""Computes shards of Eciton jobs in Python, over gRPC.

It pulls tasks from a worker that listens (`eciton worker --listen`), reads what each names, does the job's step
to the rows, and sends them. What it does about each answer is what `shards.proto` says; the rest is a small CSV
reader, and SQLite for `[transform] sql` that SQLite and DataFusion understand alike.

Stubs: see README.md. `--slow` and `--never-renew` are there to try failures out.
"""

import argparse
import csv
import gzip
import io
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time

import grpc

from eciton.v1 import job_pb2, shards_pb2, shards_pb2_grpc, swarm_pb2

VERSION = "puller.py 0.1.0"
# limits.rs: ROWS_CHUNK_LEN_MAX is the most; smaller ones let the peer begin sooner.
CHUNK_LEN = 256 * 1024
# limits.rs: ERROR_LEN_MAX.
ERROR_LEN_MAX = 16 * 1024
# After these a call may be repeated: see "Errors" in swarm.proto.
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# How often a call is repeated, and how long that waits at most, seconds.
TRIES = 8
WAIT_MAX = 5.0


class Wrong(Exception):
    """The shard cannot be computed. `transient`: trying the same bytes again may help."""

    def __init__(self, why, transient=False):
        super().__init__(why)
        self.transient = transient


class Lost(Exception):
    """The shard is another worker's, or has ended: drop whatever was computed."""


class Peers:
    """The peers of one database. Calls with a token go to the one that gave it; Complete and Fail to others, too,
    once it is gone."""

    def __init__(self, addresses, token):
        self.stubs = [shards_pb2_grpc.ShardsStub(grpc.insecure_channel(a)) for a in addresses]
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        self.first = 0

    def call(self, name, request, timeout, anywhere=True):
        """Calls, and repeats what may be repeated. `request` is a message, or makes an iterator of them."""
        for attempt in range(TRIES):
            stub = self.stubs[self.first]
            try:
                message = request() if callable(request) else request
                return getattr(stub, name)(message, timeout=timeout, metadata=self.metadata)
            except grpc.RpcError as error:
                if error.code() not in AGAIN or attempt == TRIES - 1:
                    raise
                say(f"{name}: {error.code().name}, again")
                if anywhere:
                    self.first = (self.first + 1) % len(self.stubs)
                time.sleep(min(0.1 * 2**attempt, WAIT_MAX))


class Lease:
    """A lease, renewed by a thread of its own while its shard is computed."""

    def __init__(self, peers, task, began, renews):
        self.peers, self.token = peers, task.token
        # It runs from the moment it is given, so it is counted from before the call.
        self.seconds = task.lease_ms / 1000
        self.until = began + self.seconds
        self.lost = threading.Event()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.renew, daemon=True)
        if renews:
            self.thread.start()

    def renew(self):
        # After a third of its time, so that two renewals may get lost.
        while not self.over.wait(self.seconds / 3):
            began = time.monotonic()
            try:
                request = shards_pb2.RenewRequest(tokens=[self.token])
                answer = self.peers.call("Renew", request, timeout=self.seconds / 3, anywhere=False)
            except grpc.RpcError as error:
                # It may still count: Complete tells.
                say(f"Renew: {error.code().name}")
                continue
            lease = answer.leases[0]
            if lease.state != shards_pb2.LEASE_STATE_HELD:
                self.lost.set()
                return
            self.seconds = lease.lease_ms / 1000
            self.until = began + self.seconds

    def end(self):
        self.over.set()


def say(words):
    print(f"puller {os.getpid()}: {words}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------

READERS = {
    "string": str,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "float32": float,
    "float64": float,
}


def value_of(text, column, nulls):
    """A field of a CSV file as its column's type."""
    if text in nulls:
        return None
    if column.type in READERS:
        return READERS[column.type](text)
    if column.type.startswith(("int", "uint")):
        return int(text)
    raise Wrong(f"column {column.name}: type {column.type} is not known to this program")


def text_of(task_range):
    """The bytes of a shard. They begin and end with a record, without the line of names."""
    path = task_range.file.path
    try:
        if os.path.getsize(path) != task_range.file.len:
            raise Wrong(f"{path}: another file than the job was recorded with")
        opened = gzip.open if task_range.compression == shards_pb2.COMPRESSION_GZIP else open
        with opened(path, "rb") as file:
            file.seek(task_range.start)
            if task_range.to_end:
                return file.read()
            return file.read(task_range.end - task_range.start)
    except OSError as error:
        raise Wrong(f"{path}: {error}", transient=True) from error


def rows_of(job, task):
    """The rows of a shard as tuples, in the order of `job.schema`, and how many records were left out."""
    if task.WhichOneof("read") == "values":
        return [(i,) for i in range(task.values.start, task.values.end)], 0
    source, skipped, rows = job.source, 0, []
    if task.text.compression not in (
        shards_pb2.COMPRESSION_UNSPECIFIED,
        shards_pb2.COMPRESSION_GZIP,
    ):
        raise Wrong("this compression is not known to this program")
    text = io.StringIO(text_of(task.text).decode("utf-8"), newline="")
    separators = {"delimiter": chr(source.delimiter), "quotechar": chr(source.quote)}
    nulls = set(source.null_values)
    for record in csv.reader(text, **separators):
        try:
            if len(record) != len(job.schema):
                raise ValueError(f"{len(record)} fields, expected {len(job.schema)}")
            rows.append(tuple(value_of(t, c, nulls) for t, c in zip(record, job.schema)))
        except (ValueError, KeyError) as error:
            if source.on_error != job_pb2.ON_ERROR_SKIP:
                place = f"{task.text.file.display}, bytes from {task.text.start}"
                raise Wrong(f"{place}: record {len(rows) + skipped}: {error}") from error
            skipped += 1
    return rows, skipped


# ---------------------------------------------------------------------------------------------------
# Computing
# ---------------------------------------------------------------------------------------------------


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def step(job, rows):
    """What the job does to the rows of a shard: names of columns, and rows."""
    names = [column.name for column in job.schema]
    if job.WhichOneof("step") is None:
        return names, rows
    database = sqlite3.connect(":memory:")
    columns = ", ".join(map(quoted, names))
    database.execute(f"CREATE TABLE source ({columns})")
    marks = ", ".join("?" for _ in names)
    database.executemany(f"INSERT INTO source VALUES ({marks})", rows)
    try:
        answer = database.execute(job.transform.sql)
    except sqlite3.Error as error:
        raise Wrong(f"SQLite does not take the transform: {error}") from error
    return [column[0] for column in answer.description], answer.fetchall()


def json_of(value):
    """A value as `eciton scan --json` writes it."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"$f64": "NaN" if value != value else "Inf" if value > 0 else "-Inf"}
    return value


def lines_of(names, rows):
    """Rows as JSON lines."""
    text = io.StringIO()
    for row in rows:
        json.dump({n: json_of(v) for n, v in zip(names, row)}, text, ensure_ascii=False)
        text.write("\n")
    return text.getvalue().encode("utf-8")


def completed(task, started_ms, lines, counts):
    """The messages of one stream."""
    begin = shards_pb2.CompleteBegin(
        token=task.token, format=shards_pb2.ROWS_FORMAT_JSON_LINES, started_ms=started_ms
    )
    yield shards_pb2.CompleteRequest(begin=begin)
    for start in range(0, len(lines), CHUNK_LEN):
        yield shards_pb2.CompleteRequest(rows=lines[start : start + CHUNK_LEN])
    sent, read, skipped = counts
    end = shards_pb2.CompleteEnd(
        rows_len=len(lines), rows=sent, rows_read=read, rows_skipped=skipped
    )
    yield shards_pb2.CompleteRequest(end=end)


def compute(peers, job, task, began, options):
    """One shard, to its end."""
    started_ms = int(time.time() * 1000)
    lease = Lease(peers, task, began, not options.never_renew)
    try:
        rows, skipped = rows_of(job, task)
        names, made = step(job, rows)
        lines = lines_of(names, made)
        # The middle of a shard, for whoever tries out what happens then.
        say(f"at shard {task.shard} of {job.name}")
        if lease.lost.wait(options.slow):
            raise Lost("while it was computed")
        counts = (len(made), len(rows), skipped)
        answer = peers.call(
            "Complete", lambda: completed(task, started_ms, lines, counts), timeout=120
        )
        outcome = shards_pb2.CompleteOutcome.Name(answer.outcome)
        say(f"shard {task.shard}: {outcome} {answer.error}")
    except Lost as error:
        say(f"shard {task.shard}: lost {error}")
    except Wrong as error:
        failed(peers, task, str(error), error.transient, started_ms)
    except grpc.RpcError as error:
        code = error.code()
        if code in (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION):
            # Another worker has it, or the job was stopped: the rows are dropped.
            say(f"shard {task.shard}: dropped: {code.name}")
        elif code in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.OUT_OF_RANGE,
        ):
            # These rows are wrong or too many, and would be the next time.
            failed(peers, task, f"{code.name}: {error.details()}", False, started_ms)
        else:
            # Nobody takes them now: the lease runs out, and somebody computes the shard again.
            say(f"shard {task.shard}: given up: {code.name}: {error.details()}")
    finally:
        lease.end()


def failed(peers, task, why, transient, started_ms):
    """Says that an attempt failed."""
    say(f"shard {task.shard}: {why}")
    request = shards_pb2.FailRequest(
        token=task.token,
        error=why.encode()[:ERROR_LEN_MAX].decode(errors="ignore") or "no reason was given",
        transient=transient,
        started_ms=started_ms,
    )
    try:
        peers.call("Fail", request, timeout=30)
    except grpc.RpcError as error:
        # Counted already, or another's by now.
        say(f"Fail: {error.code().name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="append", required=True, help="host:port; may be repeated")
    parser.add_argument("--job", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--slow", type=float, default=0, help="seconds that each shard takes longer")
    parser.add_argument("--never-renew", action="store_true", help="lets leases run out")
    options = parser.parse_args()
    peers = Peers(options.peer, os.environ.get("ECITON_TOKEN"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"{socket.gethostname()}/{os.getpid()}"
    request = shards_pb2.PullRequest(
        worker=swarm_pb2.WorkerInfo(name=name, version=VERSION, slots=1),
        jobs=options.job,
        tasks_max=1,
        wait_ms=2000,
        # What this program knows; anything else is for others.
        steps=[shards_pb2.STEP_KIND_NONE, shards_pb2.STEP_KIND_TRANSFORM],
        formats=[job_pb2.FORMAT_CSV, job_pb2.FORMAT_TSV, job_pb2.FORMAT_RANGE],
    )
    while not stop.is_set():
        began = time.monotonic()
        try:
            answer = peers.call("Pull", request, timeout=30)
        except grpc.RpcError as error:
            say(f"Pull: {error.code().name}: {error.details()}")
            return 1
        jobs = {job.name: job for job in answer.jobs}
        for task in answer.tasks:
            if stop.is_set() or task.WhichOneof("read") not in ("text", "values"):
                # Untried, for others to begin at once.
                release = shards_pb2.ReleaseRequest(tokens=[task.token])
                peers.call("Release", release, timeout=30, anywhere=False)
                continue
            compute(peers, jobs[task.job], task, began, options)
        if options.job and set(options.job) <= set(answer.ended):
            say("all jobs have ended")
            return 0
        if not answer.tasks:
            stop.wait(answer.pause_ms / 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
