"""A model of a disk: what was asked of it, what it must hold after a power cut, and what else it may hold.

- What a file holds is kept page by page (or, where a page is torn, sector by sector). ``fsync`` and ``fdatasync`` of a
  file keep all that was done to it before they were called. Of what was done since, *each page* may have been written
  back at any moment or not at all, and the file's size too, apart from its pages: so there are holes, zeros at the end,
  and frames of which half is there.
- Names are kept folder by folder, by ``fsync`` of the folder. Of what was done since, any beginning may be kept: the
  kernel's journals keep the order. A file that was synced, and its folder not, may be there without its name.

That is less than ext4, XFS and btrfs keep, and what POSIX says. Not modelled: a disk that lies about a sync, and bytes
that change under a power cut which nobody has written (SQLite relies on that too, ``SQLITE_POWERSAFE_OVERWRITE``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .trace import Call, Opened

PAGE, SECTOR = 4096, 512
_IGNORED = (b"-shm",)
"""The ends of the names of files that are written through a mapping, and hold nothing that counts."""


class Written(NamedTuple):
    """Bytes, or where there are none, a new size."""

    at: int
    """The number of the call."""
    offset: int
    data: bytes
    size: int
    """Of the file, afterwards."""


class Named(NamedTuple):
    """One change of a folder: ``node`` is called ``name`` now (None: nothing is), and ``gone`` is no name any more."""

    at: int
    name: bytes
    node: File | Folder | None
    gone: bytes | None = None


@dataclass(eq=False)
class File:
    """A file, whatever its names."""

    kept: bytes = b""
    """What it must hold."""
    changes: list[Written] = field(default_factory=list)
    now: bytearray = field(default_factory=bytearray)
    position: int = 0
    appends: bool = False

    def write(self, at: int, offset: int, data: bytes) -> None:
        if len(self.now) < offset:
            self.now.extend(bytes(offset - len(self.now)))
        self.now[offset : offset + len(data)] = data
        self.changes.append(Written(at, offset, data, len(self.now)))

    def resize(self, at: int, size: int) -> None:
        if size < len(self.now):
            del self.now[size:]
        else:
            self.now.extend(bytes(size - len(self.now)))
        self.changes.append(Written(at, size, b"", size))

    def sync(self, before: int) -> None:
        """Keep what was done before that call."""
        count = sum(1 for change in self.changes if change.at < before)
        is_all = count == len(self.changes)
        self.kept = bytes(self.now) if is_all else self.content(count, lambda _: count, PAGE)
        del self.changes[:count]

    def content(self, size_after: int, written_after: Callable[[int], int], unit: int) -> bytes:
        """Return what it may hold.

        Args:
            size_after: how many of the changes its size has seen.
            written_after: for the number of a page (or sector), how many of the changes that has seen.
            unit: bytes of a page, or sector.
        """
        data = bytearray(self.kept)
        for number, change in enumerate(self.changes):
            if len(data) < change.size:
                data.extend(bytes(change.size - len(data)))
            if not change.data and change.size < len(data):
                for start in _units(change.size, len(data), unit):
                    if number < written_after(start // unit):
                        begin, end = max(start, change.size), min(start + unit, len(data))
                        data[begin:end] = bytes(end - begin)
            for start in _units(change.offset, change.offset + len(change.data), unit):
                if number < written_after(start // unit):
                    begin, end = max(start, change.offset), min(start + unit, change.offset + len(change.data))
                    data[begin:end] = change.data[begin - change.offset : end - change.offset]
        size = self.changes[size_after - 1].size if size_after else len(self.kept)
        del data[size:]
        data.extend(bytes(size - len(data)))
        return bytes(data)


@dataclass(eq=False)
class Folder:
    """A folder, and what is in it."""

    kept: dict[bytes, File | Folder] = field(default_factory=dict)
    changes: list[Named] = field(default_factory=list)
    now: dict[bytes, File | Folder] = field(default_factory=dict)

    def change(self, change: Named) -> None:
        _apply(self.now, change)
        self.changes.append(change)

    def sync(self, before: int) -> None:
        """Keep what was done before that call."""
        count = sum(1 for change in self.changes if change.at < before)
        self.kept = self.names(count)
        del self.changes[:count]

    def names(self, after: int) -> dict[bytes, File | Folder]:
        """Return what may be in it when so many of the changes were kept."""
        names = dict(self.kept)
        for change in self.changes[:after]:
            _apply(names, change)
        return names


Tree = dict[str, bytes | None]
"""What lies in a directory: by its path from there, of a folder None. Folders come before what is in them."""


class Disk:
    """Everything below one folder, which is there and empty."""

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(root)
        self.folder = Folder()
        self._deleted: dict[bytes, File] = {}
        self._number = 0

    def do(self, call: Call) -> bool:
        """Do what the call did; return whether it changed anything that a cut may touch."""
        self._number += 1
        handler = getattr(self, f"_{call.name}", None)
        places = call.arguments[:1] if "write" in call.name else call.arguments  # the next one is what is written
        about = [each for each in places if isinstance(each, bytes) and self._is_here(each)]
        if not about or about[0].endswith(_IGNORED):
            return False
        if handler is None:
            raise NotImplementedError(f"{call.name} below {self._root!r}: {call.arguments[:3]}")
        return bool(handler(call))

    def is_as(self, root: Path) -> list[str]:
        """Return how a real folder differs from what was recorded."""
        here, there = self.tree(Everything()), read_tree(root)
        return [
            f"{name}: {_size(here.get(name))} recorded, {_size(there.get(name))} there"
            for name in sorted(here.keys() | there.keys())
            if here.get(name, b"?") != there.get(name, b"?")
        ]

    def tree(self, fate: Fate) -> Tree:
        """Return what it may hold after a power cut now."""
        contents: dict[File, bytes] = {}
        tree: Tree = {}
        self._add(tree, "", self.folder, fate, contents)
        return tree

    def _add(self, tree: Tree, prefix: str, folder: Folder, fate: Fate, contents: dict[File, bytes]) -> None:
        for name, node in sorted(folder.names(fate.names(folder)).items()):
            path = prefix + os.fsdecode(name)
            if isinstance(node, Folder):
                tree[path] = None
                self._add(tree, f"{path}/", node, fate, contents)
            else:
                if node not in contents:
                    contents[node] = fate.content(node)
                tree[path] = contents[node]

    # What the calls do

    def _openat(self, call: Call) -> bool:
        path, flags = _path(call.arguments[1]), str(call.arguments[2])
        if path == self._root:
            return False
        folder, name = self._place(path)
        node = folder.now.get(name)
        is_new = node is None
        if node is None:
            node = File()
            folder.change(Named(self._number, name, node))
        if isinstance(node, File) and "O_RDONLY" not in flags:
            node.position = 0
            node.appends = "O_APPEND" in flags
            if "O_TRUNC" in flags and node.now:
                node.resize(self._number, 0)
        return is_new

    def _write(self, call: Call) -> bool:
        file = self._file(call.arguments[0])
        data = _path(call.arguments[1])[: call.result]
        offset = len(file.now) if file.appends else file.position
        file.write(self._number, offset, data)
        file.position = offset + len(data)
        return True

    def _pwrite64(self, call: Call) -> bool:
        file, data, offset = self._file(call.arguments[0]), _path(call.arguments[1]), int(str(call.arguments[3]))
        file.write(self._number, offset, data[: call.result])
        return True

    def _lseek(self, call: Call) -> bool:
        node = self._node(call.arguments[0])
        if isinstance(node, File):
            node.position = call.result
        return False

    def _ftruncate(self, call: Call) -> bool:
        self._file(call.arguments[0]).resize(self._number, int(str(call.arguments[1])))
        return True

    _truncate = _ftruncate

    def _fallocate(self, call: Call) -> bool:
        if call.arguments[1] != "0":
            raise NotImplementedError(f"fallocate with mode {call.arguments[1]!r}")
        file = self._file(call.arguments[0])
        end = int(str(call.arguments[2])) + int(str(call.arguments[3]))
        if end > len(file.now):
            file.resize(self._number, end)
        return True

    def _mkdir(self, call: Call) -> bool:
        folder, name = self._place(_path(call.arguments[0]))
        folder.change(Named(self._number, name, Folder()))
        return True

    def _mknodat(self, call: Call) -> bool:
        folder, name = self._place(_path(call.arguments[1]))
        folder.change(Named(self._number, name, File()))
        return True

    def _unlink(self, call: Call) -> bool:
        path = _path(call.arguments[0])
        folder, name = self._place(path)
        self._forget(path, folder.now[name])
        folder.change(Named(self._number, name, None))
        return True

    _rmdir = _unlink

    def _rename(self, call: Call) -> bool:
        old, new = _path(call.arguments[0]), _path(call.arguments[1])
        (old_folder, old_name), (new_folder, new_name) = self._place(old), self._place(new)
        if old_folder is not new_folder:
            raise NotImplementedError(f"rename to another folder: {old!r}")
        node = old_folder.now[old_name]
        if new_name in new_folder.now:
            self._forget(new, new_folder.now[new_name])
        self._forget(old, node)  # who has just looked where its descriptor leads may still have the old name
        old_folder.change(Named(self._number, new_name, node, gone=old_name))
        return True

    def _link(self, call: Call) -> bool:
        old, new = _path(call.arguments[0]), _path(call.arguments[1])
        folder, name = self._place(new)
        old_folder, old_name = self._place(old)
        folder.change(Named(self._number, name, old_folder.now[old_name]))
        return True

    def _fsync(self, call: Call) -> bool:
        node = self._node(call.arguments[0])
        if node is not None:
            node.sync(call.began + 1)
        return True

    _fdatasync = _fsync

    def _syncfs(self, call: Call) -> bool:
        for node in self._nodes(self.folder):
            node.sync(call.began + 1)
        return True

    def _mmap(self, call: Call) -> bool:
        if "PROT_WRITE" in str(call.arguments[2]) and "MAP_SHARED" in str(call.arguments[3]):
            raise NotImplementedError(f"a mapping that is written: {call.arguments}")
        return False

    # Where things are

    def _is_here(self, path: bytes) -> bool:
        return path == self._root or path.startswith(self._root + b"/")

    def _place(self, path: bytes) -> tuple[Folder, bytes]:
        *parts, name = path[len(self._root) + 1 :].split(b"/")
        folder = self.folder
        for part in parts:
            inner = folder.now[part]
            assert isinstance(inner, Folder), path
            folder = inner
        return folder, name

    def _node(self, argument: str | bytes) -> File | Folder | None:
        path = _path(argument)
        if path == self._root:
            return self.folder
        if not (isinstance(argument, Opened) and argument.is_deleted):
            folder, name = self._place(path)
            if name in folder.now:
                return folder.now[name]
        return self._deleted.get(path)

    def _nodes(self, folder: Folder) -> Iterator[File | Folder]:
        yield folder
        for node in {*folder.kept.values(), *folder.now.values(), *self._deleted.values()}:
            yield from self._nodes(node) if isinstance(node, Folder) else [node]

    def _file(self, argument: str | bytes) -> File:
        node = self._node(argument)
        assert isinstance(node, File), argument
        return node

    def _forget(self, path: bytes, node: File | Folder) -> None:
        if isinstance(node, File):
            self._deleted[path] = node


class Fate:
    """What becomes of all that was not synced."""

    def names(self, folder: Folder) -> int:
        """Return how many changes of its names a folder keeps."""
        raise NotImplementedError

    def content(self, file: File) -> bytes:
        """Return what a file holds."""
        raise NotImplementedError


class Everything(Fate):
    """All of it is there, as after a kill."""

    def names(self, folder: Folder) -> int:
        return len(folder.changes)

    def content(self, file: File) -> bytes:
        return bytes(file.now)


class Nothing(Fate):
    """None of it."""

    def names(self, folder: Folder) -> int:  # noqa: ARG002
        return 0

    def content(self, file: File) -> bytes:
        return file.kept


class NamesAlone(Nothing):
    """All names; of the files what was synced, and what is missing of their size are zeros."""

    def names(self, folder: Folder) -> int:
        return len(folder.changes)

    def content(self, file: File) -> bytes:
        return file.content(len(file.changes), lambda _: 0, PAGE)


class DataAlone(Nothing):
    """All that is in files, but not the names that were not synced."""

    def content(self, file: File) -> bytes:
        return bytes(file.now)


class Drawn(Fate):
    """Each folder and each file has a fate of its own.

    Attributes:
        has_holes: some page of a file is older than what follows it.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.has_holes = False

    def names(self, folder: Folder) -> int:
        count = len(folder.changes)
        return self._chance.choice((0, count, self._chance.randint(0, count)))

    def content(self, file: File) -> bytes:
        count = len(file.changes)
        how = self._chance.choice(("all", "none", "beginning", "torn", "pages", "pages"))
        if how == "all" or not count:
            return bytes(file.now)
        if how == "none":
            return file.kept
        some = self._chance.randint(0, count)
        if how == "beginning":
            return file.content(some, lambda _: some, PAGE)
        if how == "torn":  # the last one is half there, and zeros may follow
            last = file.changes[some - 1]
            end = last.offset + (self._chance.randint(0, len(last.data)) if some else 0)
            size = self._chance.choice((some, count))
            return file.content(size, lambda unit: some if unit * SECTOR < end else max(0, some - 1), SECTOR)
        self.has_holes = True
        unit = self._chance.choice((PAGE, PAGE, SECTOR))
        often = self._chance.choice((0.1, 0.5, 0.9))
        drawn: dict[int, int] = {}

        def written_after(number: int) -> int:
            if number not in drawn:
                drawn[number] = count if self._chance.random() < often else self._chance.randint(0, count)
            return drawn[number]

        return file.content(self._chance.choice((count, some)), written_after, unit)


def write_tree(root: Path, tree: Tree) -> None:
    """Make a folder that is there and empty hold this."""
    for name, content in tree.items():
        path = root / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)


def read_tree(root: Path) -> Tree:
    """Return what a folder holds."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        if not os.fsencode(path).endswith(_IGNORED):
            tree[os.fspath(path.relative_to(root))] = None if path.is_dir() else path.read_bytes()
    return tree


def _apply(names: dict[bytes, File | Folder], change: Named) -> None:
    if change.gone is not None:
        names.pop(change.gone, None)
    if change.node is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.node


def _units(start: int, end: int, unit: int) -> Iterator[int]:
    yield from range(start - start % unit, end, unit)


def _path(argument: str | bytes) -> bytes:
    assert isinstance(argument, bytes), argument
    return argument


def _size(content: bytes | None) -> str:
    return "nothing or a folder" if content is None else f"{len(content)} bytes"
