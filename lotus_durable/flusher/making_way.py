"""When a flusher makes way for another one: for the newer program in a rolling deploy, and where it reaches no server.

A process that sees another program flush than its own asks once, by starting a flusher that asks; the one that flushes
then leaves after its request. Of two programs the one that began later wins. An older version asks only when no newer
one is in use any more: so a rollback takes effect, and a forgotten cron job changes nothing. A flusher that reaches no
server makes way for a process in other surroundings (another proxy, network namespace or cgroup).
"""

from __future__ import annotations

from lotus_durable.config import Constants
from lotus_durable.queue.heartbeat import Beat, Program

from .starting import Notes
from .surroundings import version_order

_OUT_OF_USE_AFTER = 60.0
"""Seconds without a look of a process of the newer version."""


def asks_to_make_way(
    beat: Beat, ours: Program, notes: Notes, constants: Constants, *, has_asked: bool, now: float
) -> bool:
    """Tell whether a process that sees this beat should ask; what it asks for is noted.

    That its own program is newer it says once: not if it has asked before.
    """
    return (
        _reaches_more(beat, ours, notes, constants, now)
        or _has_better_key(beat, ours, notes, constants, now)
        or (not has_asked and _is_newer(beat, ours, notes, now))
    )


def _is_newer(beat: Beat, ours: Program, notes: Notes, now: float) -> bool:
    theirs = beat.program
    if (ours.package, ours.settings, ours.key) == (theirs.package, theirs.settings, theirs.key):
        return False
    if ours.began <= theirs.began:
        return False
    is_older_version = version_order(ours.version) < version_order(theirs.version)
    return not is_older_version or now - notes.newest_at > _OUT_OF_USE_AFTER


def _reaches_more(beat: Beat, ours: Program, notes: Notes, constants: Constants, now: float) -> bool:
    if beat.unreachable_since is None or ours.surroundings == beat.program.surroundings:
        return False
    if now - beat.unreachable_since < constants.unreachable_before_making_way:
        return False
    return _tries_now(ours.surroundings, notes, constants, now)


def _has_better_key(beat: Beat, ours: Program, notes: Notes, constants: Constants, now: float) -> bool:
    return beat.key_refused and ours.key != beat.program.key and _tries_now(ours.key, notes, constants, now)


def _tries_now(who: bytes, notes: Notes, constants: Constants, now: float) -> bool:
    """Note a try, unless there was one lately: else two that both reach nobody would change places for ever."""
    recent = {each: at for each, at in notes.tried.items() if now - at < constants.making_way_interval}
    if who in recent:
        return False
    notes.tried = {**recent, who: now}
    return True
