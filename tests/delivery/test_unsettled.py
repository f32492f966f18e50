"""Ids that a server of 2022 may have: they are known again, by this flusher and by the next one."""

from __future__ import annotations

from lotus_durable.delivery.unsettled import UnsettledIds


def test_an_id_is_new_once() -> None:
    marks = UnsettledIds()
    assert marks.add(["a", "b"]) == (["a", "b"], False)
    assert marks.add(["b", "c"]) == (["c"], True)
    assert marks.add(["d"]) == (["d"], False)


def test_an_id_that_is_settled_is_new_again() -> None:
    marks = UnsettledIds()
    marks.add(["a", "b"])
    marks.discard(["a", "never there"])
    assert marks.add(["a"]) == (["a"], False)


def test_the_next_flusher_knows_them() -> None:
    marks = UnsettledIds()
    marks.add(["a", "b", "\N{PILE OF POO}", "\ud800"])
    assert UnsettledIds(marks.encode()).add(["\ud800"]) == ([], True)
    assert len(marks.encode()) == 16


def test_they_never_fill_a_heartbeat() -> None:
    marks = UnsettledIds()
    ids = [str(number) for number in range(20_000)]
    marks.add(ids)
    known = UnsettledIds(marks.encode())
    assert len(marks.encode()) <= 10_000
    assert known.add(ids[-1_000:]) == ([], True)
