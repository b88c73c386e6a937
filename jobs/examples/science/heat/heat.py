"""An ensemble of rods that cool: the heat equation u_t = a u_xx on [0, 1], with u = 0 at both ends.

Each member `i` has a diffusivity of its own and begins as u(x, 0) = sin(pi x), of which the solution is known:
u(x, t) = exp(-a pi^2 t) sin(pi x). It is computed by the scheme of Crank and Nicolson, which is stable for any step and of
second order in space and in time.

J. Crank, P. Nicolson: A practical method for numerical evaluation of solutions of partial differential equations of the
heat-conduction type. Proc. Camb. Phil. Soc. 43 (1947), https://doi.org/10.1017/S0305004100023197.
"""

import json
import math
import sys

POINTS = 50
STEPS = 50
TIME = 0.1


def cooled(diffusivity):
    """The temperatures at the inner points after TIME."""
    dx, dt = 1 / (POINTS + 1), TIME / STEPS
    r = diffusivity * dt / (2 * dx * dx)
    u = [math.sin(math.pi * (j + 1) * dx) for j in range(POINTS)]
    # The tridiagonal system is the same in each step: Thomas's factors once.
    factors = []
    pivot = 1 + 2 * r
    for _ in range(POINTS):
        factors.append(pivot)
        pivot = 1 + 2 * r - r * r / pivot
    for _ in range(STEPS):
        right = [
            (1 - 2 * r) * u[j]
            + r * (u[j - 1] if j > 0 else 0.0)
            + r * (u[j + 1] if j + 1 < POINTS else 0.0)
            for j in range(POINTS)
        ]
        for j in range(1, POINTS):
            right[j] += r / factors[j - 1] * right[j - 1]
        u[-1] = right[-1] / factors[-1]
        for j in range(POINTS - 2, -1, -1):
            u[j] = (right[j] + r * u[j + 1]) / factors[j]
    return u


def main():
    for line in sys.stdin:
        member = json.loads(line)["i"]
        diffusivity = 0.05 + 0.01 * member
        u = cooled(diffusivity)
        peak = max(u)
        exact = math.exp(-diffusivity * math.pi**2 * TIME) * math.sin(math.pi * round((POINTS + 1) / 2) / (POINTS + 1))
        print(
            json.dumps(
                {
                    "member": member,
                    "diffusivity": round(diffusivity, 6),
                    "mean": sum(u) / POINTS,
                    "peak": peak,
                    "exact_peak": exact,
                }
            )
        )


main()
