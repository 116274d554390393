"""The process that trains: compilation cache, age, signals, and the lock on its run folder."""

import contextlib
import errno
import os
import platform
import signal
import stat
import sys
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import jax

from dreamer_lite.runs.errors import RunError, explained

try:
    import fcntl
except ImportError:  # Windows: runs work, but two processes in one folder are not noticed
    fcntl = None

TWICE = 1.0  # seconds in which a second SIGTERM is the same request


def enable_compilation_cache() -> None:
    """Let JAX keep compiled programs in ~/.cache/dreamer-lite, so that later starts are fast.

    Call it before anything is compiled. A folder chosen by JAX_COMPILATION_CACHE_DIR is kept. Where
    no folder can be written, programs are compiled again.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "dreamer-lite" / "jax" / instruction_set()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        # An entry that cannot be read or written costs time and nothing else.
        warnings.filterwarnings("ignore", message=r"Error (reading|writing) persistent compilation")


def instruction_set() -> str:
    """A name that differs between processors, whose compiled programs must not be mixed up."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    flags = text.partition("flags")[2].partition("\n")[0]
    return f"{platform.machine()}-{zlib.crc32(flags.encode()):08x}"


def age_of_process() -> float:
    """Seconds since this process started, imports included; 0 without /proc."""
    try:
        status = Path("/proc/self/stat").read_text(encoding="utf-8")
        ticks = int(status.rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


# Signals


class Stop:
    """Call it to learn whether a signal asked the process to stop."""

    signal: int = 0  # number of the signal that asked

    def __call__(self) -> bool:
        return self.signal != 0


@contextlib.contextmanager
def stop_on_signals(
    note: bytes = b"\nStopping: finishing this step and saving; once more stops at once.\n",
    again: Callable[[int, Any], Any] | None = None,
) -> Iterator[Stop]:
    """Inside `with`, Ctrl-C, SIGTERM and SIGHUP only set a flag, so that the run can save.

    A second signal does what it did before: Ctrl-C raises KeyboardInterrupt. `note` is what the
    first one writes to stderr, `again` a handler for the second. When a terminal is closed, or from
    `timeout`, a process gets several signals at once. Therefore SIGHUP never counts as a second
    one, nor does SIGTERM within a second. A SIGHUP that is ignored, as under nohup, stays ignored.

    The flag is needed because a KeyboardInterrupt can be swallowed inside JAX. Python allows signal
    handlers in the main thread only: in another thread the flag stays unset.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # no SIGHUP on Windows
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers[2:]:
        if before[number] == signal.SIG_IGN:
            del before[number]
    since, owner = 0.0, os.getpid()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        nonlocal since
        now = time.monotonic()
        if os.getpid() != owner:  # a process that an environment has forked, with nothing to save:
            if number == signal.SIGTERM:  # Ctrl-C in a terminal is meant for its parent
                restore()
                signal.raise_signal(number)
        elif not stop.signal:
            stop.signal, since = number, now
            if sys.__stderr__ is not None:  # else the number 2 is that of some file
                with contextlib.suppress(OSError):  # nobody reads it, as in a closed terminal
                    os.write(2, note)
        elif number == signal.SIGINT or (number == signal.SIGTERM and now > since + TWICE):
            restore()
            if again is not None:
                again(number, frame)
            else:
                signal.raise_signal(number)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def pass_on(number: int) -> None:
    """End the process if this signal asked for it, now that the run is saved; not for Ctrl-C."""
    if number not in (0, signal.SIGINT):
        signal.raise_signal(number)


# The lock on a run folder

_locks: "weakref.WeakSet[IO]" = weakref.WeakSet()  # those that this process holds


def _release_locks() -> None:
    """In a process that an environment has forked, which must not hold the lock of a dead run."""
    for lock in list(_locks):
        with contextlib.suppress(OSError):
            lock.close()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_locks)


def lock_folder(folder: Path, tell: Callable[[str], object]) -> IO:
    """Make the folder and keep other processes out of it until the returned file is closed.

    Raises:
      RunError: another process holds the lock, or nothing can be written there.
    """
    another = "choose another folder with --run."
    with explained(OSError, RunError, lambda why: f"Cannot write in {folder} ({why}): {another}"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _open_lock(folder / "lock")
        try:
            _acquire(lock, folder, tell)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except (OSError, RunError):
            with contextlib.suppress(OSError):  # the disk may be full
                lock.close()
            raise
    _locks.add(lock)
    return lock


def is_locked(folder: Path) -> bool:
    """Whether a process trains in this run folder, as far as the file system tells."""
    if fcntl is None:
        return False
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # nobody has trained here yet, or there are no locks
        return False
    return False


def _acquire(lock: IO, folder: Path, tell: Callable[[str], object]) -> None:
    """Lock an open file, where the file system can."""
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = lock.read().strip() or "unknown"
        raise RunError(
            f"{folder} is in use by process {owner}: wait for it, stop it, or choose another "
            "folder with --run."
        ) from error
    except OSError as error:
        tell(
            f"The file system of {folder} has no locks ({error.strerror}): make sure that no other "
            "process trains there at the same time."
        )


def _open_lock(file: Path) -> IO:
    """Open or make a file that must be ours alone, because its content is overwritten.

    Raises:
      RunError: it is a link to another file, or no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):  # not there on Windows
        flags |= getattr(os, name, 0)
    odd = RunError(
        f"{file} is a link or no regular file, so it is not overwritten: remove it, or choose "
        "another folder with --run."
    )
    try:
        handle = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise odd from error
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise odd
    return os.fdopen(handle, "r+", encoding="utf-8")
