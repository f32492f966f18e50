"""What everybody knew at each moment of a run: which events must be there after a power cut, and which may be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from .trace import Call


@dataclass
class Known:
    """What the ledger says so far.

    Attributes:
        durable: an event must be there when the call that tracked it has returned (durability "power"); else when a
            whole round of the flusher's syncs has come after that.
    """

    durable: bool
    stored: Collection[str] = ()
    """What the server holds when the run is over."""
    attempted: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    synced: set[str] = field(default_factory=set)
    """Accepted before a round of syncs that is over."""
    answered: set[str] = field(default_factory=set)
    """The server has seen them, and its answer was read."""
    sending: set[str] = field(default_factory=set)
    """It may have seen them."""
    has_books: bool = True
    """Nobody has removed them; what was refused is in them alone."""
    _in_round: dict[str, set[str]] = field(default_factory=dict)
    _destroyed: dict[str, set[str]] = field(default_factory=dict)

    def note(self, call: Call, ledger: bytes) -> bool:
        """Take a note, if the call wrote one."""
        if call.name != "write" or call.arguments[0] != ledger:
            return False
        line = call.arguments[1]
        assert isinstance(line, bytes)
        word, process, *ids = line.decode().split()
        if word == "attempts":
            self.attempted.update(ids)
        elif word == "accepted":
            self.accepted.update(ids)
            self._destroyed.pop(ids[0].partition("-")[0], None)  # they were carried over first
        elif word == "syncs":
            at_risk = set().union(*self._destroyed.values())
            self._in_round[process] = self.accepted - at_risk
        elif word == "synced":
            self.synced |= self._in_round.pop(process)
        elif word == "sends":
            self.sending.update(ids)
        elif word == "answered":
            self.answered.update(ids)
        elif word in ("removes", "restored"):
            self.has_books = word == "restored"
        elif word == "destroys":
            self._destroyed[ids[0]] = {each for each in self.accepted if each.startswith(f"{ids[0]}-")}
            self.synced -= self._destroyed[ids[0]]
        return True

    def at_server(self) -> set[str]:
        """Return what its database held for sure."""
        return self.answered & set(self.stored)

    def must_be_there(self) -> set[str]:
        """Return what no power cut may take now."""
        must = self.accepted - set().union(*self._destroyed.values()) if self.durable else set(self.synced)
        return must if self.has_books else must - (self.answered - set(self.stored))
