"""A query over `lineitem` by one engine: `tpch_peers.py ENGINE FORMAT FOLDER`, with the query on standard input.

Prints one line of JSON: seconds from the first call to the rows of the result, processor time and the largest resident size of
this process, and the sum of all numbers of the result. Two threads each. Versions are those of `tpch_requirements.txt`.
"""

import json
import os
import resource
import sys
import time

WORKERS = 2
MONEY = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"]


def datafusion(kind, folder, sql):
    import datafusion
    import pyarrow

    config = datafusion.SessionConfig().with_target_partitions(WORKERS)
    context = datafusion.SessionContext(config)
    if kind == "csv":
        found = context.read_csv(folder).schema()
        fields = [
            pyarrow.field(f.name, pyarrow.decimal128(15, 2)) if f.name in MONEY else f for f in found
        ]
        context.register_csv("source", folder, schema=pyarrow.schema(fields))
    else:
        context.register_parquet("source", folder)
    for batch in context.sql(sql).collect():
        yield from zip(*(column.to_pylist() for column in batch.columns))


def duckdb(kind, folder, sql):
    import duckdb

    connection = duckdb.connect(config={"threads": WORKERS})
    types = ", ".join(f"'{name}': 'DECIMAL(15,2)'" for name in MONEY)
    read = (
        f"read_csv('{folder}/*.csv', types={{{types}}})"
        if kind == "csv"
        else f"read_parquet('{folder}/*.parquet')"
    )
    connection.execute(f"CREATE VIEW source AS SELECT * FROM {read}")
    return connection.execute(sql).fetchall()


def polars(kind, folder, sql):
    import polars

    if kind == "csv":
        types = {name: polars.Decimal(15, 2) for name in MONEY}
        frame = polars.scan_csv(f"{folder}/*.csv", schema_overrides=types, try_parse_dates=True)
    else:
        frame = polars.scan_parquet(f"{folder}/*.parquet")
    sql = sql.replace("DATE '1998-09-02'", "'1998-09-02'::date")
    return polars.SQLContext(source=frame).execute(sql).collect().iter_rows()


ENGINES = {"datafusion_python": datafusion, "duckdb": duckdb, "polars": polars}


def number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def peak_mb():
    """Not of `getrusage`, which counts what this process was before it became another program."""
    with open("/proc/self/status") as status:
        (kib,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kib) / 1024


def main():
    _, engine, kind, folder = sys.argv
    os.environ["POLARS_MAX_THREADS"] = str(WORKERS)
    sql = sys.stdin.read()
    __import__(engine.removesuffix("_python"))
    began = time.perf_counter()
    about = sum(number(value) for row in ENGINES[engine](kind, folder, sql) for value in row)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": peak_mb(),
        "exact": 0,
        "about": about,
    }
    print(json.dumps(told))


main()
