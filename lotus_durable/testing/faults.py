"""What can go wrong between a client and a Lotus server, as values, and when it does.

::

    FakeLotus(faults=Faults(script=[Status(503), None, Reset("after_storing")]))   # one entry per request
    FakeLotus(faults=Faults(rates={Status(502): 0.05, Delay(2.0): 0.01}, seed=7))  # at random
    FakeLotus(faults=Faults(poison={"id-7": Status(500)}))                         # an event that breaks its batch

A fault changes one request. Where it does not say otherwise the request is not processed: nothing is stored and
no rule of the server (key, size, customers) is looked at. Those that let it be processed answer by those rules.
"""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, dataclass_transform

from lotus_durable.testing.data import load
from lotus_durable.testing.exchange import Request


@dataclass_transform(frozen_default=True)
class Fault:
    """Anything that can go wrong with one request: a frozen dataclass."""

    kinds: ClassVar[dict[str, type[Fault]]] = {}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)
        cls.kinds[cls.__name__] = cls

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object with its ``kind``."""
        return {"kind": type(self).__name__, **vars(self)}

    @staticmethod
    def from_json(value: Mapping[str, Any] | str) -> Fault:
        """Build one from its name in NAMED or a JSON object; raises ValueError for an unknown kind or name."""
        if isinstance(value, str) and value in NAMED:
            return NAMED[value]
        kind = None if isinstance(value, str) else Fault.kinds.get(value.get("kind", ""))
        if kind is None or isinstance(value, str):
            msg = f"name or kind of fault in {value!r}: choose from {', '.join([*NAMED, *Fault.kinds])}"
            raise ValueError(msg)
        return kind(**{name: _as_tuple(field) for name, field in value.items() if name != "kind"})


def _as_tuple(value: object) -> Any:  # noqa: ANN401  # a field of any fault
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


class Status(Fault):
    """Answer with this status: a failing server (500), a proxy (502, 503, 504, HTML 200), a limit (413, 401).

    Attributes:
        body: the text of the body; None sends an HTML page, as a proxy or a framework would. "" sends none.
        stored: process the request first, so that what it brought is stored although the client reads an error.
    """

    status: int
    body: str | None = None
    content_type: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()
    stored: bool = False


class DatabaseDown(Fault):
    """Answer what the generation answers while its database or cache is down (500; HTML on L22, JSON on L24)."""


class RateLimited(Fault):
    """Answer 429 with ``Retry-After``: ``retry_after`` seconds; None leaves the header out."""

    retry_after: int | None = 1


class Redirect(Fault):
    """Answer a redirect, as a proxy that wants https or another name."""

    location: str = "https://lotus.example/api/track/"
    status: int = 301


class Reset(Fault):
    """Reset the connection: before the body is read, or after the request was processed and before the answer."""

    when: Literal["before_reading", "after_storing"] = "after_storing"


class Close(Fault):
    """Close the connection in order, without an answer: a worker that died of the request looks like this."""

    when: Literal["before_reading", "after_storing"] = "before_reading"


class Interim(Fault):
    """Send interim answers (100, 102, 103) before the server's own; ``early``: before the body is read."""

    statuses: tuple[int, ...] = (103,)
    early: bool = False


class Early(Fault):
    """Answer with this status before the body is read, after these interim answers, and close; nothing is stored."""

    status: int = 413
    interim: tuple[int, ...] = ()


class Slow(Fault):
    """Work on it for ``seconds``, with what the database showed when it began, and then store and answer."""

    seconds: float


class Delay(Fault):
    """Process the request at once and answer ``seconds`` later: after the client's timeout, if long enough."""

    seconds: float


class Drip(Fault):
    """Process the request and send the body of the answer byte by byte, ``pause`` seconds before each."""

    pause: float = 0.01


class Truncate(Fault):
    """Process the request, send only the first ``keep`` bytes of the answer's body and close the connection."""

    keep: int = 5


class RefuseEvents(Fault):
    """Refuse events that the server would have stored, with ``reason``: all of them, those of ``ids``, or a part.

    Attributes:
        reason: for example ``Failed to produce event to kafka: UNKNOWN_TOPIC_OR_PARTITION``.
        ids: idempotency ids; empty means any.
        fraction: of those, the part that is refused, drawn at random (0 to 1).
    """

    reason: str
    ids: tuple[str, ...] = ()
    fraction: float = 1.0

    def refuses(self, idempotency_id: str, chance: Callable[[], float]) -> bool:
        """Whether this event is among them; ``chance`` draws a number below 1."""
        return (not self.ids or idempotency_id in self.ids) and chance() < self.fraction


class Away(Fault):
    """Take the server away for ``seconds``: every connection is reset, new ones are refused, then it is back."""

    seconds: float


NAMED: dict[str, Fault] = {}
"""What servers, proxies, firewalls and balancers do, by name: wherever JSON describes faults, a name will do."""
NAMED.update({name: Fault.from_json(described) for name, described in load("proxies")["faults"].items()})


class Faults:
    """When faults happen. Thread-safe; give each server its own.

    Args:
        script: taken one entry per request until it is used up; None lets a request pass.
        rates: after the script, each fault with its probability (0 to 1), drawn in this order; the first hit counts.
        poison: by idempotency id: the fault of any batch that holds such an event, when nothing else happened to it.
        seed: of the random draws.
        path: only requests whose path starts with this take part.

    Raises:
        ValueError: a rate is not between 0 and 1.
    """

    def __init__(
        self,
        *,
        script: Iterable[Fault | None] = (),
        rates: Mapping[Fault, float] | None = None,
        poison: Mapping[str, Fault] | None = None,
        seed: int = 0,
        path: str = "/api/",
    ) -> None:
        self._script = deque(script)
        self._rates = dict(rates or {})
        if not all(0 <= rate <= 1 for rate in self._rates.values()):
            msg = f"a rate is not between 0 and 1: {self._rates}"
            raise ValueError(msg)
        self.poison: dict[str, Fault] = dict(poison or {})
        self.path = path
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # repeatable, not secret
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Faults(script={list(self._script)}, rates={self._rates}, poison={self.poison}, seed={self._seed})"

    @property
    def left_in_script(self) -> int:
        """How many entries of the script have not been used."""
        return len(self._script)

    def extend(self, faults: Iterable[Fault | None]) -> None:
        """Append to the script."""
        with self._lock:
            self._script.extend(faults)

    def draw(self, path: str) -> Fault | None:
        """Return the fault of the next request, which is for ``path``."""
        if not path.startswith(self.path):
            return None
        with self._lock:
            if self._script:
                return self._script.popleft()
            return next((fault for fault, rate in self._rates.items() if self._random.random() < rate), None)

    def chance(self) -> float:
        """Return a random number below 1."""
        with self._lock:
            return self._random.random()

    def poison_in(self, read: Callable[[], Request]) -> Fault | None:
        """Return the fault of the first poisonous event in the batch."""
        try:
            ids = [event["idempotency_id"] for event in json.loads(read().body)["batch"]] if self.poison else []
        except (ValueError, LookupError, TypeError):
            return None
        return next((self.poison[id_] for id_ in ids if id_ in self.poison), None)

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes, for a server in another process."""
        return {
            "script": [fault and fault.as_json() for fault in self._script],
            "rates": [[fault.as_json(), rate] for fault, rate in self._rates.items()],
            "poison": {id_: fault.as_json() for id_, fault in self.poison.items()},
            "seed": self._seed,
            "path": self.path,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Faults:
        """Build from JSON: ``{"script": [{"kind": "Status", "status": 503}, null], "rates": [[fault, 0.1]], …}``."""
        try:
            return cls(
                script=[fault and Fault.from_json(fault) for fault in value.get("script", ())],
                rates={Fault.from_json(fault): rate for fault, rate in value.get("rates", ())},
                poison={id_: Fault.from_json(fault) for id_, fault in value.get("poison", {}).items()},
                **{name: value[name] for name in value if name not in {"script", "rates", "poison"}},
            )
        except (TypeError, AttributeError) as error:
            msg = f"not a description of faults: {error}"
            raise ValueError(msg) from error
