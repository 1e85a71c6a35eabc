"""The SQLite file of a record: opened, checked, locked; every error of the database in a person's words."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sartor.errors import RecordError
from sartor.runs._lock import WriterLock
from sartor.runs._schema import APPLICATION_ID, FILE_NAME, LOCK_NAME, SCHEMA, VERSION

_MAGIC = b"SQLite format 3\0"
_CHECKED_BYTES = 256 * 2**20
"""Records up to this size are checked whole when opened for writing (about 0.2 s for 100 MiB)."""


def explain(error: sqlite3.Error | OSError, path: Path) -> RecordError:
    """Returns what the person should know of a failure of the file at ``path``."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    number = getattr(error, "errno", None)
    if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE):
        return RecordError(
            f"{path} cannot be written: no space left, a limit on the size of files, or a failing disk; what was saved "
            "before is whole; go on with --resume once that is mended"
        )
    if primary == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return RecordError(
            f"no space left to save to {path}: what was saved before is whole; free some space and go on with --resume"
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return RecordError(
            f"{path} is damaged or truncated ({error}): restore it from a copy, or move it away and start anew"
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RecordError(f"{path} is locked by another program: close it and try again")
    if primary == sqlite3.SQLITE_READONLY or number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return RecordError(f"{path} cannot be written: check the permissions of its folder ({error})")
    return RecordError(f"{path} cannot be read or written: {error}")


def _is_empty(db: sqlite3.Connection) -> bool:
    """Whether a file was begun and holds nothing, of anybody's."""
    mark = db.execute("pragma application_id").fetchone()[0]
    return mark == 0 and not db.execute("select count(*) from sqlite_master").fetchone()[0]


class Store:
    """A connection to the record file.

    Args:
        out: Folder of results.
        read_only: Never writes and takes no lock: any number may read while one writes.

    Raises:
        RecordError: not there, locked by another process, damaged, not a record, of a newer version.
    """

    def __init__(self, out: Path, *, read_only: bool) -> None:
        self.path, self.read_only = out / FILE_NAME, read_only
        self._lock_path = out / LOCK_NAME
        self._lock: WriterLock | None = None
        if read_only:
            if not self.path.exists():
                raise RecordError(
                    f"no record in {out}: expected {self.path}; name the folder of an earlier search with --out"
                )
            self.db = self._open_reader()
        else:
            try:
                out.mkdir(parents=True, exist_ok=True)
                self._lock = WriterLock(self._lock_path)
                held = self._lock.acquire()
            except OSError as error:
                raise explain(error, out) from error
            if not held:
                raise RecordError(self._locked_message(out))
            try:
                self.db = self._open_writer()
            except RecordError:
                self._lock.release()
                raise

    def _locked_message(self, out: Path) -> str:
        who = "another Sartor process"
        try:
            reader = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            row = reader.execute("select pid from writer").fetchone()
            reader.close()
        except sqlite3.Error:
            row = None
        if row is not None:
            who += f" (pid {row[0]})"
        return f"{out} is in use by {who}: wait for it or end it, or write to another folder with --out"

    def _check_header(self) -> None:
        with self.path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if head and head != _MAGIC:
            raise RecordError(f"{self.path} is not a record of Sartor, or is damaged: move it away and start anew")

    def _check_version(self, db: sqlite3.Connection) -> None:
        if db.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
            raise RecordError(f"{self.path} is not a record of Sartor: name another folder with --out")
        version = db.execute("pragma user_version").fetchone()[0]
        if version > VERSION:
            raise RecordError(
                f"{self.path} was written by a newer Sartor (record version {version}, this one reads up to "
                f"{VERSION}): upgrade Sartor"
            )

    def _open_reader(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        # Without a log beside it, a record in a folder that cannot be written is read as it is.
        if not os.access(self.path.parent, os.W_OK) and not self.path.with_name(FILE_NAME + "-wal").exists():
            uri += "&immutable=1"
        try:
            self._check_header()
            db = None
            if self.path.stat().st_size:
                db = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
            if db is None or _is_empty(db):
                raise RecordError(f"{self.path} is empty: its search ended before it began; start it anew")
            self._check_version(db)
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path) from error
        return db

    def _open_writer(self) -> sqlite3.Connection:
        try:
            new = not self.path.exists() or self.path.stat().st_size == 0
            if not new:
                self._check_header()
            db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            try:
                # The mode below is written before the tables: a kill in between leaves a file without any.
                new = new or _is_empty(db)
                if not new:
                    self._check_version(db)
                db.execute("pragma journal_mode=wal")
                db.execute("pragma synchronous=normal")
                if new:
                    # One transaction: a kill in the middle leaves an empty file, which is new again.
                    db.executescript(
                        f"begin immediate; {SCHEMA} pragma application_id={APPLICATION_ID}; "
                        f"pragma user_version={VERSION}; commit;"
                    )
                elif self.path.stat().st_size <= _CHECKED_BYTES:
                    found = db.execute("pragma quick_check(1)").fetchone()[0]
                    if found != "ok":
                        raise sqlite3.DatabaseError(found)
                db.execute("begin immediate")
                db.execute("delete from writer")
                db.execute("insert into writer values(?,?)", (os.getpid(), time.time()))
                # Nobody else writes here, so what is said to be running was killed.
                db.execute("update runs set state='interrupted' where state='running'")
                db.execute("commit")
            except BaseException:
                db.close()
                raise
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) is None:
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise explain(error, self.path) from error
        except OSError as error:
            raise explain(error, self.path) from error
        return db

    def is_being_written(self) -> bool:
        """Returns whether some process, perhaps this one, has the record open for writing."""
        return self._lock is not None or WriterLock.is_held(self._lock_path)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self.db
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is saved or nothing.

        Raises:
            RecordError: opened read-only; no space left; the file is damaged.
        """
        if self.read_only:
            raise RecordError(f"{self.path} was opened to be read only")
        try:
            self.db.execute("begin immediate")
            try:
                yield self.db
                self.db.execute("commit")
            except BaseException:
                # A full disk may have rolled it back already.
                if self.db.in_transaction:
                    self.db.execute("rollback")
                raise
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def close(self) -> None:
        try:
            self.db.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None
