"""A picture of a recording of `scale`, real or simulated: `plot_scale.py RECORDING.json PICTURE.svg`.

Shards a second against workers, beside what as many workers would do if nothing but their shards took time; and what that
costs: the processor time of a shard, or, simulated, what is asked of storage beside its limits. Takes matplotlib 3.10.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
# The same recording gives the same file.
matplotlib.rcParams["svg.hashsalt"] = "eciton"
import matplotlib.pyplot as plt  # noqa: E402


def of(lines, prefix, field):
    """Workers and values of the lines `PREFIX_N_workers`, in order."""
    pairs = []
    for line in lines:
        name, _, rest = line["workload"].rpartition("_workers")
        head, _, workers = name.rpartition("_")
        if rest == "" and head == prefix:
            pairs.append((int(workers), line[field]))
    return list(zip(*sorted(pairs)))


def speed(axes, lines, name):
    """Shards a second, and the ideal."""
    workers, floor = of(lines, name, "floor")
    axes.plot(workers, floor, "--", color="0.6", label="their shards, nothing else")
    workers, ours = of(lines, name, "ours")
    axes.plot(workers, ours, "o-", label="eciton")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="shards a second")
    axes.legend()
    return workers


def processor(axes, lines):
    """Of real workers: processor time."""
    workers, ours = of(lines, "swarm_scale_cpu", "ours")
    axes.plot(workers, ours, "o-")
    axes.set(xscale="log", xlabel="workers", ylabel="processor time a shard, µs", ylim=(0, None))


def storage(axes, lines):
    """Of simulated ones: requests, and where storage takes no more."""
    for name, color in (("reads", "C0"), ("writes", "C1")):
        workers, ours = of(lines, f"sim_scale_{name}", "ours")
        axes.plot(workers, ours, "o-", color=color, label=name)
        workers, floor = of(lines, f"sim_scale_{name}", "floor")
        axes.plot(workers, floor, "--", color=color, label=f"{name} that the bucket takes")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="requests a second")
    axes.legend(fontsize=7)


def main(recording, picture):
    with open(recording) as file:
        told = json.load(file)
    lines = told["lines"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    if of(lines, "sim_scale", "ours"):
        workers = speed(left, lines, "sim_scale")
        storage(right, lines)
    else:
        workers = speed(left, lines, "swarm_scale")
        processor(right, lines)
    for axes in (left, right):
        axes.grid(True, which="major", color="0.9")
        axes.set_xticks(workers, [str(count) for count in workers])
        axes.minorticks_off()
    figure.suptitle(told["machine"], fontsize=9)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
