"""What ``doctor`` asks the server: whether it is there and is Lotus, whose the key is, and what time it is there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import requests

from lotus_durable.config import Config
from lotus_durable.url import host_name

from .examined import Answer, Mark

_CLOCK_WARNS, _CLOCK_IS_WRONG = 60.0, 12 * 3600.0
"""Seconds from the server's: it refuses events a day ahead."""


def examine_server(config: Config) -> Iterator[Answer]:
    """Give an answer to each question about the server; no event is sent, and the key is in none of them."""
    name = host_name(config.host)
    if config.host.startswith("http://") and not name.startswith("127.") and name not in ("localhost", "::1"):
        yield Answer("host", "warning", f"{config.host} is not encrypted", "use https://")
    else:
        yield Answer("host", "ok", config.host)
    if config.api_key is None:
        yield Answer("key", "warning", "none is set", "set LOTUS_API_KEY_FILE or LOTUS_API_KEY for who flushes")
    headers = {} if config.api_key is None else {"X-API-KEY": config.api_key}
    with requests.Session() as session:
        try:
            url = f"{config.host}/api/ping/"
            answer = session.get(url, headers=headers, timeout=config.timeout, allow_redirects=False, stream=True)
        except requests.exceptions.SSLError as error:
            remedy = "name the CA bundle in REQUESTS_CA_BUNDLE; certificates are always verified"
            yield Answer("TLS", "wrong", _last_words(error), remedy)
            return
        except requests.exceptions.RequestException as error:
            remedy = "look at LOTUS_HOST, the proxy's variables and the firewall; events wait on disk meanwhile"
            yield Answer("server", "wrong", f"no answer: {_last_words(error)}", remedy)
            return
        with answer:
            if answer.status_code == requests.codes.not_found:
                yield from _of_2022(
                    session.get(f"{config.host}/api/customers/", headers=headers, timeout=config.timeout)
                )
            yield from _of_answer(answer.status_code, answer.headers.get("Date"), config)
            if answer.status_code == requests.codes.ok:
                yield _organisation(answer.raw.read(1 << 16, decode_content=True))


def _of_answer(status: int, date: str | None, config: Config) -> Iterator[Answer]:
    if config.host.startswith("https://"):
        yield Answer("TLS", "ok", "the certificate is verified")
    refused, redirects = (400, 401, 403), range(300, 400)
    if status in redirects:
        yield Answer("server", "wrong", f"it redirects (HTTP {status})", "set LOTUS_HOST to where it leads")
    elif status in refused:
        yield Answer(
            "key", "wrong", f"the server refuses it (HTTP {status})", "look at the key, and at which server it is"
        )
    elif status not in (200, 404):
        yield Answer("server", "wrong", f"HTTP {status}", "look at the server; events wait on disk meanwhile")
    if date is not None:
        with contextlib.suppress(ValueError, TypeError):
            away = time.time() - parsedate_to_datetime(date).timestamp()
            mark: Mark = "ok" if abs(away) < _CLOCK_WARNS else "warning" if abs(away) < _CLOCK_IS_WRONG else "wrong"
            text = f"{abs(away):.0f} s {'ahead of' if away > 0 else 'behind'} the server's"
            yield Answer("clock", mark, text, "" if mark == "ok" else "set it: events of another day are refused")


def _of_2022(answer: requests.Response) -> Iterator[Answer]:
    if answer.status_code == 200:  # noqa: PLR2004  # OK
        yield Answer("key", "ok", "known; the server is of 2022, which cannot say whose it is")
    elif answer.status_code in (401, 403):
        yield Answer("key", "wrong", f"the server refuses it (HTTP {answer.status_code})", "look at the key")
    else:
        yield Answer("server", "wrong", "it does not answer as Lotus does", "look at LOTUS_HOST")


def _organisation(body: bytes) -> Answer:
    try:
        name = json.loads(body)["organization_id"]
    except (ValueError, KeyError, TypeError):
        return Answer("server", "wrong", "it does not answer as Lotus does", "look at LOTUS_HOST: a proxy in between?")
    return Answer("key", "ok", f"of organisation {name}")


def _last_words(error: Exception) -> str:
    reason: object = error
    while isinstance(reason, Exception) and (inner := getattr(reason, "reason", None) or next(iter(reason.args), None)):
        if not isinstance(inner, Exception):
            break
        reason = inner
    words = str(reason).rpartition(": ")[2].partition(" (_ssl.c:")[0]
    return words.strip("')") or type(error).__name__
