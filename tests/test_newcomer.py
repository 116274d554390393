"""Somebody new: an empty folder, a clone, and the two commands that the README prints."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import stacks
from stacks import ROOT, say

MINUTES = 90  # a command that takes longer hangs
BAR = r"\d+% \|.*\| \d+:\d\d, \d+:\d\d left"


def in_a_terminal(command: str, folder: Path, words: dict[str, str]) -> tuple[int, str]:
    """Run a command as typed in a terminal there; (exit status, all that appeared).

    A terminal, because progress looks different in a file. What appears is printed as it comes.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))  # a bar is drawn as wide as the terminal
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=words, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    late = threading.Timer(60 * MINUTES, process.kill)
    late.start()
    seen = []
    try:
        while data := read(ours):
            seen.append(data)
            print(data.decode(errors="replace"), end="", flush=True)
    finally:
        late.cancel()
        os.close(ours)
    return process.wait(), b"".join(seen).decode(errors="replace")


def read(end: int) -> bytes:
    """What has appeared; nothing at the end, for which Linux raises and macOS returns nothing."""
    try:
        return os.read(end, 65536)
    except OSError:
        return b""


def test_a_terminal_is_one(tmp_path):
    status, seen = in_a_terminal("test -t 1 && echo yes; exit 3", tmp_path, dict(os.environ))
    assert status == 3 and seen.strip() == "yes"


def test_a_terminal_shows_the_bar(tmp_path):
    program = (
        "import time\nfrom dreamer_lite.commands.train import bar\n"
        "from dreamer_lite.training.loop import Limits\n"
        "record = dict(return_mean=1.0, episodes=3, updates=5, updates_per_second=2.0)\n"
        "for _ in bar((record | dict(seconds=s) for s in (1, 2, 3)), Limits(minutes=0.1)):\n"
        "    time.sleep(0.2)"
    )
    words = os.environ | {"PYTHONPATH": str(ROOT)}
    status, seen = in_a_terminal(f"{sys.executable} -c '{program}'", tmp_path, words)
    assert status == 0 and re.search(BAR, seen), seen


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory) -> Iterator[tuple[Path, dict[str, str], list[str]]]:
    """(a clone of what is committed, the variables of a newcomer, the README's two commands)."""
    reason = stacks.why_no_clone()
    if reason:
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("newcomer")
    clone = place / "dreamer-lite"
    subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), clone], check=True)
    words = stacks.clean(place / "home", TERM="xterm", COLUMNS="100")
    shown = subprocess.run(
        ["bash", ".ci/run", "--show"], cwd=clone, env=words, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    yield clone, words, shown.stdout.splitlines()
    shutil.rmtree(clone / ".venv", ignore_errors=True)  # 2 GB


@pytest.mark.slow
def test_make_demo_keeps_its_promises(newcomer, record_property):
    clone, words, (_, demo) = newcomer
    seen, minutes = succeeds(demo, clone, words)
    assert "Traceback" not in seen
    run = clone / "runs" / "demo"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["wall_seconds"] > 285, "it learns for five minutes"
    assert summary["updates"] > 0 and summary["episodes"] > 0 and summary["versions"]["jax"]
    assert re.search(BAR, seen), "progress, with the time that is left"
    evaluated = re.search(r"(-?[\d.]+) ± ([\d.]+)", seen.partition("Demo 2/3")[2])
    assert evaluated, "the evaluation is printed with its error"
    assert "Watch it: " in seen.partition("Demo 3/3")[2]
    frames = decoded(run / "dream.mp4")
    assert len(frames) >= 10 and min(frames.shape[1:3]) >= 64
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    assert (changes > 0.2).mean() > 0.5, "most frames differ from the one before"
    assert not git(clone, "status", "--porcelain"), "nothing that git would see is left behind"
    record_property("make demo: minutes, with the set-up", round(minutes, 1))
    record_property("make demo: return in training", round(summary["return_mean"], 2))
    record_property("make demo: return of 20 episodes", evaluated[0])


@pytest.mark.slow
def test_make_test_passes(newcomer, record_property):
    clone, words, (test, _) = newcomer
    seen, minutes = succeeds(test, clone, words)
    plain = re.sub(r"\x1b\[[\d;]*m", "", seen)  # without the colours
    last = re.findall(r"=+ (\d+ passed.*?) =+", plain)[-1]
    assert not git(clone, "status", "--porcelain"), "nothing that git would see is left behind"
    record_property("make test: minutes, once the environment is there", round(minutes, 1))
    record_property("make test: result", last)


# Debian 12 and 13, Ubuntu 24.04, each with nothing but its packages that must be there.
SUITES = ("bookworm", "trixie", "noble")
# Run by `unshare --mount`: what is mounted is gone with the last of its processes.
IN_ROOT = """
set -e; root=$1; shift
mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i "$@"
"""


def why_no_root() -> str:
    """Why no bare machine can be set up here, or nothing."""
    if getattr(os, "geteuid", lambda: 1)() != 0:
        return "only root can set up the root of another system"
    for tool in ("debootstrap", "unshare", "chroot"):
        if shutil.which(tool) is None:
            return f"there is no {tool} here (Debian: apt install debootstrap)"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return "this container may not mount anything"
    return stacks.why_no_clone()


def variables(root: Path) -> list[str]:
    """A newcomer's there, with this machine's certificates, which a proxy may need."""
    kept = re.compile(
        r"(SSL|PIP|REQUESTS)_\w*CERT\w*|SSL_\w+|REQUESTS_\w+|\w+_(proxy|PROXY)|PIP_INDEX_URL"
    )
    words = {name: value for name, value in os.environ.items() if kept.fullmatch(name)}
    for file in {Path(value) for value in words.values() if Path(value).is_file()}:
        to = root / file.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    words |= {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    words["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [f"{name}={value}" for name, value in words.items()]


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_two_commands_on_a_bare_machine(suite, tmp_path, record_property):
    """With the packages that the README names, and no others: no EGL, no OSMesa, no compiler."""
    if reason := why_no_root():
        pytest.skip(reason)
    root, log = tmp_path / suite, tmp_path / f"{suite}.log"
    try:
        made = subprocess.run(
            ["debootstrap", "--force-check-gpg", "--variant=minbase", suite, root],
            capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode:
            last = (made.stdout + made.stderr).strip().splitlines()[-1:]
            pytest.skip(f"debootstrap cannot make {suite} here: {last}")
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        clone = root / "root" / "dreamer-lite"
        subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), clone], check=True)
        readme = (clone / "README.md").read_text(encoding="utf-8")
        (packages,) = re.findall(r"(?m)^sudo apt install (make .*)$", readme)
        for command in (
            f"apt-get update -q && apt-get install -qy --no-install-recommends {packages}",
            "cd dreamer-lite && make demo MINUTES=0.5",
            "cd dreamer-lite && make test",
        ):
            words = ["bash", "-c", f"cd; {command}"]
            start = time.monotonic()
            result = subprocess.run(
                ["unshare", "--mount", "bash", "-c", IN_ROOT, "in_root", root]
                + variables(root) + words,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                stdin=subprocess.DEVNULL, timeout=60 * MINUTES,
            )  # fmt: skip
            say(f"{suite}, {command}: {(time.monotonic() - start) / 60:.1f} minutes")
            log.write_text(result.stdout, encoding="utf-8")  # the root is deleted, this is not
            assert result.returncode == 0, f"{result.stdout[-6000:]}\nAll of it: {log}"
        assert not git(clone, "status", "--porcelain"), "nothing that git would see is left behind"
        record_property(f"{suite}: make test", result.stdout.strip().splitlines()[-1])
    finally:
        shutil.rmtree(root, ignore_errors=True)


def succeeds(command: str, clone: Path, words: dict[str, str]) -> tuple[str, float]:
    """(all that a command of the README printed, minutes); fails where the command does."""
    start = time.monotonic()
    status, seen = in_a_terminal(command, clone, words)
    minutes = (time.monotonic() - start) / 60
    say(f"{command}: status {status} after {minutes:.1f} minutes")
    assert status == 0, seen[-6000:]
    return seen, minutes


def decoded(file: Path) -> np.ndarray:
    """All frames of a film, (n, h, w, 3)."""
    reader = imageio_ffmpeg.read_frames(str(file))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader])


def git(clone: Path, *words: str) -> str:
    result = subprocess.run(["git", *words], cwd=clone, check=True, capture_output=True, text=True)
    return result.stdout.strip()
