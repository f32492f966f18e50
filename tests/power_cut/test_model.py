"""The model of a disk does what kernels do, and no less."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from .disk import PAGE, SECTOR, DataAlone, Disk, Drawn, Everything, NamesAlone, Nothing, Tree
from .trace import parsed

ROOT = "/disk"
_PID = 100


def hexed(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return "".join(f"\\x{byte:02x}" for byte in data)


def opened(path: str, number: int = 3) -> str:
    return f"{number}<{hexed(f'{ROOT}/{path}'.rstrip('/'))}>"


def named(path: str) -> str:
    return f'"{hexed(f"{ROOT}/{path}")}"'


def create(path: str) -> str:
    return f"openat(AT_FDCWD<{hexed('/')}>, {named(path)}, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = {opened(path)}"


def write(path: str, data: bytes, offset: int) -> str:
    return f'pwrite64({opened(path)}, "{hexed(data)}", {len(data)}, {offset}) = {len(data)}'


def disk(*lines: str) -> Disk:
    made = Disk(ROOT)
    for call in parsed([line if line[0].isdigit() else f"{_PID} {line}" for line in lines]):
        made.do(call)
    return made


def drawn(made: Disk, times: int = 300) -> list[Tree]:
    return [made.tree(Drawn(random.Random(seed))) for seed in range(times)]


def test_what_was_synced_is_there_and_of_what_was_not_all_or_nothing_or_zeros() -> None:
    made = disk(
        create("a"),
        f"fsync({opened('')}) = 0",
        write("a", b"kept", 0),
        f"fdatasync({opened('a')}) = 0",
        write("a", b"more", 4),
    )
    assert made.tree(Everything()) == made.tree(DataAlone()) == {"a": b"keptmore"}
    assert made.tree(Nothing()) == {"a": b"kept"}
    assert made.tree(NamesAlone()) == {"a": b"kept\0\0\0\0"}


def test_a_file_that_was_synced_can_be_without_its_name_until_its_folder_is_synced() -> None:
    lines = [create("a"), write("a", b"x", 0), f"fsync({opened('a')}) = 0"]
    assert disk(*lines).tree(Nothing()) == {}
    assert disk(*lines, f"fsync({opened('')}) = 0").tree(Nothing()) == {"a": b"x"}


def test_a_renamed_file_has_one_of_its_names_and_the_order_of_names_is_kept() -> None:
    made = disk(
        create("a.tmp"),
        f"fsync({opened('')}) = 0",
        f"rename({named('a.tmp')}, {named('a')}) = 0",
        create("b"),
        f"unlink({named('a')}) = 0",
    )
    found = {tuple(sorted(tree)) for tree in drawn(made)}
    assert found == {("a.tmp",), ("a",), ("a", "b"), ("b",)}


def test_pages_that_were_not_synced_are_there_in_any_order_and_half_a_page_is_too() -> None:
    pages = [bytes([number]) * PAGE for number in (1, 2, 3)]
    made = disk(
        create("a"), f"fsync({opened('')}) = 0", *(write("a", page, PAGE * at) for at, page in enumerate(pages))
    )
    contents = [tree["a"] or b"" for tree in drawn(made)]
    assert b"".join(pages) in contents
    assert any(content.startswith(bytes(PAGE)) and content.endswith(pages[2]) for content in contents)
    cut = {len(content.rstrip(b"\0")) % PAGE for content in contents}
    assert cut > {0}
    assert all(size % SECTOR == 0 for size in cut)


def test_a_file_can_be_shorter_than_what_was_written_and_longer_after_it_was_cut_back() -> None:
    made = disk(
        create("a"),
        write("a", b"abcdef", 0),
        f"fsync({opened('a')}) = 0",
        f"fsync({opened('')}) = 0",
        f"ftruncate({opened('a')}, 2) = 0",
        write("a", b"XY", 2),
    )
    found = {tree["a"] for tree in drawn(made)}
    assert {b"abcdef", b"ab", b"abXY"} <= found
    assert all(content is not None and len(content) in (2, 4, 6) for content in found)


def test_a_sync_covers_what_was_done_before_it_was_called_and_not_what_others_did_meanwhile() -> None:
    made = disk(
        create("a"),
        f"fsync({opened('')}) = 0",
        write("a", b"before", 0),
        f"101 fdatasync({opened('a')} <unfinished ...>",
        write("a", b"meanwhile", 6),
        "101 <... fdatasync resumed>) = 0",
    )
    assert made.tree(Nothing()) == {"a": b"before"}


def test_a_file_that_was_deleted_while_open_is_there_as_long_as_its_folder_was_not_synced() -> None:
    deleted = opened("a") + "(deleted)"
    made = disk(
        create("a"),
        f"fsync({opened('')}) = 0",
        f"unlink({named('a')}) = 0",
        f'write({deleted}, "{hexed("late")}", 4) = 4',
    )
    assert made.tree(Everything()) == {}
    assert made.tree(DataAlone()) == {"a": b"late"}


@pytest.mark.parametrize(
    "line",
    [
        f"mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {opened('a')}, 0) = 0",
        f"rename({named('a')}, {named('folder/a')}) = 0",
    ],
)
def test_what_the_model_does_not_know_is_refused_and_not_left_out(line: str) -> None:
    lines: Sequence[str] = [create("a"), f"mkdir({named('folder')}, 0700) = 0", line]
    with pytest.raises(NotImplementedError):
        disk(*lines)


def test_calls_that_failed_or_never_came_back_have_done_nothing() -> None:
    made = disk(
        create("a"),
        f'pwrite64({opened("a")}, "{hexed("x")}", 1, 0) = -1 ENOSPC (No space left on device)',
        f"unlink({named('a')}) = ?",
        f"101 unlink({named('a')} <unfinished ...>",
    )
    assert made.tree(Everything()) == {"a": b""}
