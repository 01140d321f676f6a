"""Files that others read while we write them: replaced whole, or left as they were.

Promise: whoever opens ``path`` finds the old text or the new one, also after a power cut; owner
and mode are right before the first byte can be read there.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> bool:
    """Put ``data`` at ``path`` (through a link: where it leads). ``owner``: uid and gid, where we
    may give it away; whether it has that owner now. Raises ``OSError``, and nothing has changed.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    given = True
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 an open handle
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                given = _give(handle, owner)
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return given


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A file that must not be there yet. Raises ``FileExistsError`` and other ``OSError``."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(handle, "wb") as file:  # noqa: PTH123 an open handle
        file.write(data)
        file.flush()
        os.fsync(handle)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` fsynced."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """While inside, no other process is; ``path`` is an empty file that stays."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """While inside, root is the owner of ``folder`` and nobody more: what it makes there belongs to
    that one, and no link that one has laid leads root anywhere. For others nothing changes. Of
    the whole process: for a command, not for a program with threads at work."""
    found = folder.stat()
    if os.geteuid() != 0 or found.st_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _give(handle: int, owner: tuple[int, int]) -> bool:
    """Give an open file to ``owner``, or at least to its group; whether it is all its."""
    with contextlib.suppress(PermissionError):
        os.fchown(handle, *owner)
    with contextlib.suppress(PermissionError):
        os.fchown(handle, -1, owner[1])
    found = os.fstat(handle)
    return (found.st_uid, found.st_gid) == owner


def ids_of(user: str) -> tuple[int, int] | None:
    """uid and main group of a user of this machine; None where there is none of that name."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return None
    return found.pw_uid, found.pw_gid


def may_read(path: Path, user: str) -> bool:
    """Whether ``user`` of this machine could read ``path``, by owner, group and mode alone."""
    found = ids_of(user)
    if found is None or found[0] == 0:
        return True
    uid, gid = found
    groups = {gid, *(one.gr_gid for one in grp.getgrall() if user in one.gr_mem)}
    path = Path(os.path.realpath(path))
    if not _allows(path.stat(), uid, groups, stat.S_IROTH):
        return False
    return all(_allows(above.stat(), uid, groups, stat.S_IXOTH) for above in path.parents)


def _allows(found: os.stat_result, uid: int, groups: set[int], bit: int) -> bool:
    if found.st_uid == uid:
        return bool(found.st_mode & bit << 6)
    if found.st_gid in groups:
        return bool(found.st_mode & bit << 3)
    return bool(found.st_mode & bit)
