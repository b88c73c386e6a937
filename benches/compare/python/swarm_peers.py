"""Functions that return at once, run by two workers of a framework: `swarm_peers.py PEER COUNT`.

Prints one line of JSON: seconds from the first call to the last result, processor time of all processes meanwhile,
seconds from one call to its result, seconds from nothing to the first result, and the largest resident sizes of all
processes together. Versions are those of `swarm_requirements.txt`.
"""

import json
import sys
import threading
import time

import psutil

WORKERS = 2


def no_op(_=None):
    return None


class Watch:
    """What this process and all that it has started take: processor time, and memory at its largest."""

    def __init__(self):
        self.own = psutil.Process()
        self.peak = 0.0
        self.done = threading.Event()
        threading.Thread(target=self.look, daemon=True).start()

    def processes(self):
        return [self.own, *self.own.children(recursive=True)]

    def cpu(self):
        taken = 0.0
        for process in self.processes():
            try:
                times = process.cpu_times()
                taken += times.user + times.system
            except psutil.Error:
                pass
        return taken

    def look(self):
        while not self.done.wait(0.1):
            size = 0
            for process in self.processes():
                try:
                    size += process.memory_full_info().pss
                except psutil.Error:
                    pass
            self.peak = max(self.peak, size / 1024 / 1024)


def ray_tasks():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR")
    task = ray.remote(no_op)
    return (lambda count: ray.get([task.remote() for _ in range(count)])), ray.shutdown


def ray_actors():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR")

    @ray.remote
    class Actor:
        def call(self):
            return None

    actors = [Actor.remote() for _ in range(WORKERS)]

    def run(count):
        ray.get([actors[i % WORKERS].call.remote() for i in range(count)])

    return run, ray.shutdown


def dask():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    client = Client(cluster)

    def run(count):
        client.gather(client.map(no_op, range(count), pure=False))

    def end():
        client.close()
        cluster.close()

    return run, end


def hyperqueue():
    """Programs, since that is what it is for: a function would start a Python a task."""
    import tempfile

    from hyperqueue.cluster import LocalCluster, WorkerConfig
    from hyperqueue.job import Job

    folder = tempfile.TemporaryDirectory()
    cluster = LocalCluster(server_dir=folder.name)
    for _ in range(WORKERS):
        cluster.start_worker(WorkerConfig(cores=1))
    client = cluster.client()

    def run(count):
        job = Job(max_fails=0)
        for _ in range(count):
            job.program(["true"], stdout=None, stderr=None)
        client.wait_for_jobs([client.submit(job)])

    def end():
        cluster.stop()
        folder.cleanup()

    return run, end


def main():
    name, count = sys.argv[1], int(sys.argv[2])
    watch = Watch()
    started = time.monotonic()
    run, end = {"ray_tasks": ray_tasks, "ray_actors": ray_actors, "dask": dask, "hyperqueue": hyperqueue}[name]()
    run(1)
    start_seconds = time.monotonic() - started
    begun = time.monotonic()
    run(1)
    first_seconds = time.monotonic() - begun
    cpu, begun = watch.cpu(), time.monotonic()
    run(count)
    seconds = time.monotonic() - begun
    cpu_seconds = watch.cpu() - cpu
    watch.done.set()
    print()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "first_seconds": first_seconds,
                "start_seconds": start_seconds,
                "peak_mb": watch.peak,
            }
        ),
        flush=True,
    )
    end()


if __name__ == "__main__":
    main()
