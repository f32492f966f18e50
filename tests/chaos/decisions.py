"""The stream of decisions: what is done, to whom, in which order; drawn from the seed, never from what happens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .plan import Plan, Round, Signal, Strike, Victim
from .points import points_of
from .trouble import SLOW, TROUBLES

_STRIKES = 14
"""In one round."""
_FULL_STRIKES = 4
"""While the disk is full: then nothing is delivered, and most points are not reached."""
_ROUNDS = ("plain", "faults", "plain", "faults", "full disk", "plain", "faults")
_HURRIED = 0.4
_SLOW_EVERY = 25
"""One in so many rounds has a fault that takes the better part of a minute to get over."""

_SIGNALS: Sequence[tuple[tuple[Victim, Signal], float]] = (
    (("worker", "SIGKILL"), 8),
    (("leader", "SIGKILL"), 4),
    (("flusher", "SIGKILL"), 1),
    (("worker", "SIGSTOP"), 2),
    (("leader", "SIGSTOP"), 0.7),
    (("flusher", "SIGSTOP"), 0.3),
    (("worker", "SIGTERM"), 2),
    (("leader", "SIGTERM"), 1),
    (("flusher", "SIGTERM"), 1),
)
_POINT_SHARE = 0.45


class _Deck:
    """Deals each of some cards once, in a random order, and then again: nothing is left out for long."""

    def __init__(self, cards: Sequence[str], chance: random.Random) -> None:
        self._cards = list(cards)
        self._chance = chance
        self._left: list[str] = []

    def deal(self) -> str:
        if not self._left:
            self._left = self._chance.sample(self._cards, len(self._cards))
        return self._left.pop()


def rounds(plan: Plan) -> Iterator[Round]:
    """Yield rounds without end; the same ones for the same seed and the same kinds of processes."""
    chance = random.Random(f"chaos {plan.seed}")
    points = _Deck(points_of(plan.backend), chance)
    troubles = _Deck([name for name in TROUBLES if name not in SLOW], chance)
    slow = _Deck(sorted(SLOW), chance)
    number = 0
    while True:
        number += 1
        kind = _ROUNDS[(number - 1) % len(_ROUNDS)]
        hurried = chance.random() < _HURRIED
        if number % _SLOW_EVERY == 0:
            yield Round(number, slow.deal(), 0.0, hurried, _strikes(plan, chance, points, _STRIKES))
        elif kind == "full disk":
            strikes = tuple(_signal(plan, chance, _pause(chance)) for _ in range(_FULL_STRIKES))
            yield Round(number, None, round(chance.uniform(0.5, 2.0), 2), hurried, strikes)
        else:
            faults = troubles.deal() if kind == "faults" else None
            yield Round(number, faults, 0.0, hurried, _strikes(plan, chance, points, _STRIKES))


def _strikes(plan: Plan, chance: random.Random, points: _Deck, count: int) -> tuple[Strike, ...]:
    strikes: list[Strike] = []
    for _ in range(count):
        pause = _pause(chance)
        if chance.random() >= _POINT_SHARE:
            strikes.append(_signal(plan, chance, pause))
            continue
        strikes.append(Strike(pause, point=points.deal(), chance=chance.choice((0.4, 1.0))))
    return tuple(strikes)


def _signal(plan: Plan, chance: random.Random, pause: float) -> Strike:
    kinds = [kind for kind, _ in _SIGNALS if kind[0] != "flusher" or plan.flushers]
    weights = [weight for kind, weight in _SIGNALS if kind in kinds]
    [(victim, signal)] = chance.choices(kinds, weights)
    seconds = round(chance.uniform(0.3, 2.0), 2) if signal == "SIGSTOP" else 0.0
    return Strike(pause, victim, signal, chance.randrange(1000), seconds)


def _pause(chance: random.Random) -> float:
    return round(chance.uniform(0.0, 0.1), 3)
