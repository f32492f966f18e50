"""``lotus-durable adopt``: have events that were tracked under another API key sent with this one."""

from __future__ import annotations

import argparse
from collections import Counter

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher import locks
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.identity import NO_KEY, fingerprint

from . import drain
from .arguments import WAIT, argument, timeout, waiting
from .command import Command
from .existing import existing_queue
from .output import ExitCode, aligned, report
from .wording import count

_DESCRIPTION = """\
Events are sent with the API key that they were tracked under, or with one that has replaced it. The server of 2024 can
say whether it has, the server of 2022 cannot. This shows which events wait for another key than the one given here.
With --yes it takes your word that this key has replaced theirs: they are sent with it, now and whenever such events
come. Never do that with another application's events: Lotus would bill them to the wrong organisation. If the server
says that their key is another organisation's, they are not sent even so.

keys of --json:
  waiting        what waits for other keys: an object of numbers of events by the fingerprint of their key
  adopted        the fingerprints that were adopted now"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    # With requests, filelock and SQLite: other commands, probes among them, do not load them.
    from lotus_durable.flusher.organisation import succession
    from lotus_durable.operate.holding import held

    config = existing_queue(arguments).config
    found = _waiting(config)
    chosen = {key for key in found if arguments.key in (None, key)}
    if arguments.key is not None and not chosen:
        raise ConfigurationError(f"no events wait for a key with the fingerprint {arguments.key}")
    if arguments.yes and chosen:
        with held(config, waiting=waiting(arguments)) as queue:
            for key in chosen:
                queue.consumer.learn(succession(bytes.fromhex(key)), fingerprint(config.api_key).hex())
    rows = [(key, count(number), "events, of the key with this fingerprint") for key, number in found.items()]
    result = {"waiting": found, "adopted": sorted(chosen) if arguments.yes else []}
    report(arguments, result, *(aligned(rows) or ["no events wait for another API key"]))
    if not found:
        return ExitCode.DONE
    if not arguments.yes:
        return ExitCode.NOT_COMPLETE
    return drain.ended(drain.drained(arguments, is_quiet=True))


def _waiting(config: Config) -> dict[str, int]:
    """Return how many events wait for which keys.

    Raises:
        ConfigurationError: there is no key, or the flusher has another one.
    """
    from lotus_durable.flusher.organisation import may_send
    from lotus_durable.operate import refuse
    from lotus_durable.operate.stored import stored_events
    from lotus_durable.queue.contents import read_learned

    if config.api_key is None:
        raise ConfigurationError("api_key: it is needed, to send with it what was tracked under others (LOTUS_API_KEY)")
    directory = QueueDirectory(config.queue_dir)
    ours = fingerprint(config.api_key)
    beat = read_beat(directory)
    if beat is not None and locks.is_held(directory.flusher_lock) and beat.program.key != ours:
        raise ConfigurationError(
            f"the flusher, process {beat.pid} on {beat.hostname}, has another API key than this command; give this one "
            "the same, or stop that one first"
        )
    tracked_under = Counter(stored.key for stored in stored_events(directory, ["pending", "parked"], report=refuse))
    return {
        key.hex(): number
        for key, number in sorted(tracked_under.items())
        if key not in (ours, NO_KEY) and not may_send(key, ours, lambda name: read_learned(directory.books, name))
    }


COMMAND = Command(
    name="adopt",
    summary="have events that were tracked under another API key sent with this one",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("--yes", action="store_true", help="adopt them, and have them sent; without it nothing changes"),
        argument("--key", metavar="FINGERPRINT", help="only those of this key"),
        timeout(),
        WAIT,
    ),
    examples="lotus-durable adopt\nlotus-durable adopt --yes",
    options=drain.COMMAND.options,
    done="no events wait for another key, or those that did are sent",
    not_complete="events wait for another key, or not all could be sent",
    damaged="the queue is damaged, or of a later version; nothing was changed",
)
