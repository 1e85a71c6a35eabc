"""Classical controllers of gymnasium's classic environments, what their numbers mean, and how to change their physics.

The controllers know the equations of motion, and give demonstrations and a yardstick:

| environment | controller | mean return of 20 episodes |
|---|---|---|
| CartPole-v1 | linear-quadratic regulator of the linearised pole (the sign of its force) | 500 (the most) |
| Pendulum-v1 | energy shaping (Astrom and Furuta 2000), regulator near the top | -123 |
| Acrobot-v1 | energy pumping: torque along the second joint's velocity (after Spong 1995) | -78 |
| MountainCar-v0 | energy pumping between two switching curves | -111 |
| MountainCarContinuous-v0 | energy pumping at 0.4 of the force, as force is what costs | 97 |

No torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_discrete_are

Controller = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Classic:
    """What is known of an environment.

    Attributes:
        observations: Names of what is observed.
        actions: Names of the choices, or of the components of an action.
        controller: Makes the controller: observation ``(d,)`` to action.
        change: Changes the physics of an environment.
        changed: What that is, in words.
    """

    observations: tuple[str, ...]
    actions: tuple[str, ...]
    controller: Callable[[], Controller]
    change: Callable[[Any], None]
    changed: str


def _regulator(a: np.ndarray, b: np.ndarray, state_cost: tuple[float, ...], action_cost: float) -> np.ndarray:
    """Returns the gains ``(d,)`` of the linear-quadratic regulator of x' = a x + b u."""
    cost = np.array([[action_cost]])
    p = solve_discrete_are(a, b, np.diag(state_cost), cost)
    gains: np.ndarray = np.linalg.solve(b.T @ p @ b + cost, b.T @ p @ a)[0]
    return gains


def _cart_pole() -> Controller:
    gravity, total, pole, half, tau = 9.8, 1.1, 0.1, 0.5, 0.02
    inertia = half * (4 / 3 - pole / total)
    a, b = np.zeros((4, 4)), np.zeros((4, 1))
    a[0, 1] = a[2, 3] = 1
    a[1, 2], a[3, 2] = -pole * half * gravity / (inertia * total), gravity / inertia
    b[1, 0], b[3, 0] = 1 / total + pole * half / (inertia * total**2), -1 / (total * inertia)
    gains = _regulator(np.eye(4) + tau * a, tau * b, (1.0, 1.0, 10.0, 1.0), 0.1)
    return lambda observation: int(gains @ observation < 0)


def _pendulum() -> Controller:
    dt, stiffness = 0.05, 15.0  # 3 g / 2 l
    a = np.array([[1 + stiffness * dt * dt, dt], [stiffness * dt, 1]])
    gains = _regulator(a, np.array([[3 * dt * dt], [3 * dt]]), (1.0, 0.1), 0.001)

    def control(observation: np.ndarray) -> np.ndarray:
        cos, sin, speed = observation
        angle = np.arctan2(sin, cos)
        torque = -(gains[0] * angle + gains[1] * speed)
        if abs(angle) > 1.0 or abs(torque) > 6.0:
            energy = speed * speed / 6 + 5 * (cos - 1)  # 0 upright at rest
            torque = -4.0 * energy * (1.0 if speed >= 0 else -1.0)
        torques: np.ndarray = np.clip([torque], -2.0, 2.0).astype(np.float32)
        return torques

    return control


def _acrobot() -> Controller:
    return lambda observation: 2 if observation[5] > 0 else 0


def _mountain_car() -> Controller:
    def control(observation: np.ndarray) -> int:
        position, speed = observation
        least = min(-0.09 * (position + 0.25) ** 2 + 0.03, 0.3 * (position + 0.9) ** 4 - 0.008)
        return 2 if least <= speed <= -0.07 * (position + 0.38) ** 2 + 0.07 else 0

    return control


def _mountain_car_continuous() -> Controller:
    return lambda observation: np.array([0.4 if observation[1] >= 0 else -0.4], np.float32)


def _change_cart_pole(env: Any) -> None:
    env.length *= 1.5
    env.masspole *= 2.0
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


def _change_pendulum(env: Any) -> None:
    env.m *= 1.2
    env.l *= 1.1


def _change_acrobot(env: Any) -> None:
    # On the instance: the class is shared.
    env.LINK_MASS_1, env.LINK_MASS_2 = 1.2 * env.LINK_MASS_1, 1.2 * env.LINK_MASS_2


def _change_mountain_car(env: Any) -> None:
    env.force *= 0.9


def _change_mountain_car_continuous(env: Any) -> None:
    env.power *= 0.9


CLASSICS = {
    "CartPole": Classic(
        ("position", "velocity", "angle", "turning speed"), ("left", "right"), _cart_pole, _change_cart_pole,
        "pole 1.5 times as long and twice as heavy",
    ),
    "Pendulum": Classic(
        ("cosine", "sine", "turning speed"), ("torque",), _pendulum, _change_pendulum,
        "1.2 times as heavy and 1.1 times as long",
    ),
    "Acrobot": Classic(
        ("cosine 1", "sine 1", "cosine 2", "sine 2", "speed 1", "speed 2"), ("back", "none", "forth"), _acrobot,
        _change_acrobot, "links 1.2 times as heavy",
    ),
    "MountainCar": Classic(
        ("position", "velocity"), ("left", "none", "right"), _mountain_car, _change_mountain_car, "0.9 of the force"
    ),
    "MountainCarContinuous": Classic(
        ("position", "velocity"), ("force",), _mountain_car_continuous, _change_mountain_car_continuous,
        "0.9 of the power",
    ),
}  # fmt: skip
"""By name without version, of gymnasium's own."""


def classic_of(environment: str) -> Classic | None:
    """Returns what is known of an environment, or None."""
    return CLASSICS.get(environment.rpartition("-v")[0])
