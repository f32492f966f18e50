"""What ``doctor`` asks the server: whether it is there and is Lotus, whose the key is, and what time it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from lotus_durable.calls.generation import is_2024, told_by
from lotus_durable.config import Config
from lotus_durable.http.answer import Answer as ServersAnswer
from lotus_durable.http.answer import NoAnswer, json_value
from lotus_durable.http.connection import Connection
from lotus_durable.url import host_name, is_loopback

from . import Answer, Mark

_CLOCK_WARNS, _CLOCK_IS_WRONG = 60.0, 12 * 3600.0
"""Seconds from the server's: it refuses events a day ahead."""


def examine_server(config: Config) -> Iterator[Answer]:
    """Give an answer to each question about the server; no event is sent, and the key is in none of them."""
    if config.host.startswith("http://") and not is_loopback(host_name(config.host)):
        yield Answer("host", "warning", f"{config.host} is not encrypted", "use https://")
    else:
        yield Answer("host", "ok", config.host)
    if config.api_key is None:
        yield Answer("key", "warning", "none is set", "set LOTUS_API_KEY_FILE or LOTUS_API_KEY for who flushes")
    connect, read = config.timeout
    with closing(Connection(config.host, config.api_key or "", connect_timeout=connect, read_timeout=read)) as server:
        generation, answer = told_by(partial(server.exchange, "GET"))
        if isinstance(answer, NoAnswer):
            yield _unanswered(answer.reason)
            return
        if config.host.startswith("https://"):
            yield Answer("TLS", "ok", "the certificate is verified")
        yield _of_2022(answer) if generation == "2022" else _of_ping(answer)
        if answer.date is not None:
            yield _clock(time.time() - answer.date)


def _unanswered(reason: str) -> Answer:
    if reason.startswith("TLS: "):
        remedy = "name the CA bundle in REQUESTS_CA_BUNDLE; certificates are always verified"
        return Answer("TLS", "wrong", reason.removeprefix("TLS: "), remedy)
    remedy = "look at LOTUS_HOST, the proxy's variables and the firewall; events wait on disk meanwhile"
    return Answer("server", "wrong", reason, remedy)


def _of_ping(answer: ServersAnswer) -> Answer:
    redirects = range(300, 400)
    if answer.status in redirects:
        return Answer("server", "wrong", f"it redirects (HTTP {answer.status})", "set LOTUS_HOST to where it leads")
    value = json_value(answer)
    if is_2024(answer) and isinstance(value, dict) and "organization_id" in value:
        return Answer("key", "ok", f"of organisation {value['organization_id']}")
    if is_2024(answer):
        return _refused(answer.status)
    what = f"it does not answer as Lotus does (HTTP {answer.status})"
    return Answer("server", "wrong", what, "look at LOTUS_HOST: is a proxy in between?")


def _of_2022(answer: ServersAnswer) -> Answer:
    if answer.status == 403:  # noqa: PLR2004  # a key that it does not know
        return _refused(answer.status)
    return Answer("key", "ok", "known; the server is of 2022, which cannot say whose it is")


def _refused(status: int) -> Answer:
    return Answer(
        "key", "wrong", f"the server refuses it (HTTP {status})", "look at the key, and at which server it is"
    )


def _clock(away: float) -> Answer:
    mark: Mark = "ok" if abs(away) < _CLOCK_WARNS else "warning" if abs(away) < _CLOCK_IS_WRONG else "wrong"
    text = f"{abs(away):.0f} s {'ahead of' if away > 0 else 'behind'} the server's"
    return Answer("clock", mark, text, "" if mark == "ok" else "set it: events of another day are refused")
