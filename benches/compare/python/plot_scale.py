"""A picture of a recording of `scale`: `plot_scale.py RECORDING.json PICTURE.svg`.

Shards a second against workers, beside what as many workers would do if nothing but their shards took time, and the
processor time that a shard costs. Takes matplotlib 3.10.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
# The same recording gives the same file.
matplotlib.rcParams["svg.hashsalt"] = "eciton"
import matplotlib.pyplot as plt  # noqa: E402


def of(lines, prefix, field):
    """Pairs of workers and values of the lines `PREFIX_N_workers`."""
    pairs = []
    for line in lines:
        name, _, rest = line["workload"].rpartition("_workers")
        head, _, workers = name.rpartition("_")
        if rest == "" and head == prefix:
            pairs.append((int(workers), line[field]))
    return zip(*sorted(pairs))


def main(recording, picture):
    with open(recording) as file:
        told = json.load(file)
    lines = told["lines"]
    figure, (speed, cost) = plt.subplots(1, 2, figsize=(10, 4))
    workers, floor = of(lines, "swarm_scale", "floor")
    speed.plot(workers, floor, "--", color="0.6", label="shards of 50 ms, nothing else")
    workers, ours = of(lines, "swarm_scale", "ours")
    speed.plot(workers, ours, "o-", label="eciton")
    speed.set(xscale="log", yscale="log", xlabel="workers", ylabel="shards a second")
    speed.legend()
    workers, ours = of(lines, "swarm_scale_cpu", "ours")
    cost.plot(workers, ours, "o-")
    cost.set(xscale="log", xlabel="workers", ylabel="processor time a shard, µs", ylim=(0, None))
    for axes in (speed, cost):
        axes.grid(True, which="major", color="0.9")
        axes.set_xticks(workers, [str(count) for count in workers])
        axes.minorticks_off()
    figure.suptitle(told["machine"], fontsize=9)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
