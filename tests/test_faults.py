"""Real faults: each ends in one sentence, and the last checkpoint is as it was.

No space, folders that cannot be written, damage to any file, interrupts in every phase, kills,
rewards that are no numbers, environments that die, agents from strangers.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fault_child
import gymnasium
import numpy as np
import pytest
import small_run
from small_run import metrics, state_of

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.presets import make_config
from dreamer_lite.runs import agents, checkpoints, records
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import CheckpointError
from dreamer_lite.training import hosted
from dreamer_lite.training.loop import Driver, make_driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.training.state import RunState
from dreamer_lite.worlds.hosted import WorldError

CONFIG = small_run.config()


@pytest.fixture(scope="module")
def base(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, to be copied."""
    folder = tmp_path_factory.mktemp("base") / "run"
    for updates in (5, 15):
        list(runs.run(CONFIG, folder, Limits(updates=updates), driver=driver))
    assert len(list((folder / "state").iterdir())) == 2
    return folder


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit status of a command and the last line of stderr, which must be its one sentence."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    err = capsys.readouterr().err
    assert "Traceback" not in err
    last = (err.strip().splitlines() or [""])[-1]
    if status in (1, 2):
        assert re.fullmatch(r"dreamer-lite: .*\.", last), err
        assert "[Errno" not in last, "a code is no sentence"
    return status, last


def train(capsys: pytest.CaptureFixture[str], folder: Path, updates: int) -> tuple[int, str]:
    return command(capsys, "train", *small_run.FLAGS, "--updates", updates, "--run", folder)


def updates_of(folder: Path) -> int:
    return checkpoints.read_meta(folder / "state")["summary"]["updates"]


# No space, and no right to write


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a disk; test_runs and test_checkpoints limit file sizes")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def left(disk: Path, size: int) -> Iterator[None]:
    """Inside, only `size` bytes of the disk are free."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - size))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize("kilobytes", [0, 8, 60, 500])
def test_no_space_while_training(
    kilobytes: int,
    disk: Path,
    base: Path,
    driver: Driver,
    same_driver: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = disk / "run"
    shutil.copytree(base, run)
    with left(disk, 1024 * kilobytes):
        status, said = train(capsys, run, 20)
        assert updates_of(run) >= 15
        if status:
            assert "No space left on device" in said and "make room" in said
            small_run.assert_same(state_of(run, driver), state_of(base, driver))
    assert status or kilobytes > 60
    assert train(capsys, run, 20)[0] == 0
    whole = tmp_path / "whole"
    shutil.copytree(base, whole)
    list(runs.run(CONFIG, whole, Limits(updates=20), driver=driver))
    small_run.assert_same(state_of(run, driver), state_of(whole, driver))
    assert metrics(run) == metrics(whole)


def test_no_space_for_what_other_commands_write(
    disk: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random_film = ["record", "--agent", "random", "--world", "catch"]
    with left(disk, 0):
        for words in (
            ["export", "--agent", base, "--out", disk / "a.safetensors"],
            ["plot", "--run", base, "--out", disk / "a.png"],
            ["plot", "--run", base, "--out", disk / "a.svg"],
            [*random_film, "--out", disk / "a.mp4"],
            [*random_film, "--out", disk / "a.gif"],
            ["train", *small_run.FLAGS, "--updates", 5, "--run", disk / "new" / "run"],
        ):
            status, said = command(capsys, *words)
            assert status in (1, 2), words
            assert "space" in said or "write" in said, said


def test_a_disk_that_can_only_be_read(
    disk: Path, base: Path, same_driver: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = disk / "run"
    shutil.copytree(base, run)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for folder in (run, disk / "new"):
        status, said = train(capsys, folder, 20)
        assert (status, "Cannot write in" in said, "--run" in said) == (2, True, True), said
    assert "Cannot write" in command(capsys, "dream", "--agent", run)[1]
    out = disk / "a.safetensors"
    assert "Cannot write" in command(capsys, "export", "--agent", run, "--out", out)[1]
    assert command(capsys, "evaluate", "--agent", run, "--episodes", 1)[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_or_closed() -> None:
    start = [sys.executable, "-m", "dreamer_lite", "worlds"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(start, stdout=full, stderr=subprocess.PIPE, cwd=small_run.ROOT)
    assert (done.returncode, done.stderr) == (
        1,
        b"dreamer-lite: Cannot write the output (No space left on device).\n",
    )
    child = subprocess.Popen(
        start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=small_run.ROOT
    )
    assert child.stdout and child.stderr
    child.stdout.close()
    assert child.stderr.read() == b"dreamer-lite: Cannot write the output (Broken pipe).\n"
    assert child.wait() == 1


# Damage


def flip(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def cut(file: Path, chance: random.Random) -> None:
    os.truncate(file, chance.randrange(file.stat().st_size))


def zero(file: Path, chance: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def grow(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes() + chance.randbytes(9))


def lose(file: Path, chance: random.Random) -> None:
    file.unlink()


def turn_into_folder(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.mkdir()


def turn_into_loop(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


WORDS = [b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000]  # the last is too deep to read


def turn_into_words(file: Path, chance: random.Random) -> None:
    file.write_bytes(chance.choice(WORDS))


DAMAGES = [flip, cut, zero, grow, lose, turn_into_folder, turn_into_loop, turn_into_words]


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_a_checkpoint(
    damage: Callable, base: Path, driver: Driver, tmp_path: Path
) -> None:
    """The sentence says what to move away; then the earlier checkpoint is there, whole."""
    chance = random.Random(damage.__name__)
    run = tmp_path / "run"
    shutil.copytree(base, run)
    earlier, newest = sorted((run / "state").iterdir())
    files = [file for file in sorted(newest.rglob("*")) if file.is_file() and file.stat().st_size]
    assert len(files) > 10
    for file in files:
        good = file.read_bytes()
        damage(file, chance)
        with pytest.raises(CheckpointError) as error:
            checkpoints.read_meta(run / "state")
        said = str(error.value)
        assert "\n" not in said and str(newest) in said, file
        assert f"move the folder {newest} elsewhere to go on from the earlier" in said or (
            "format" in said
        )
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(good)
    small_run.assert_same(state_of(run, driver), state_of(base, driver))
    shutil.rmtree(newest)
    assert updates_of(run) == 10


@pytest.mark.parametrize("name", ["manifest.json", "meta.json"])
def test_all_words_that_are_no_checkpoint(base: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(base, tmp_path / "run")
    newest = max((tmp_path / "run" / "state").iterdir())
    for words in WORDS:
        (newest / name).write_bytes(words)
        with pytest.raises(CheckpointError, match=f"is damaged or incomplete .{name}"):
            checkpoints.read_meta(newest.parent)


@pytest.mark.parametrize("words", WORDS, ids=[repr(words[:2]) for words in WORDS])
def test_a_summary_and_records_that_cannot_be_read_are_none(tmp_path: Path, words: bytes) -> None:
    (tmp_path / "summary.json").write_bytes(words)
    assert not runs.finished(tmp_path, Limits(updates=1))
    file, written = tmp_path / "metrics.jsonl", b'{"updates": 1}\n' + words + b"\n"
    file.write_bytes(written)
    (said,) = records.repair(file, 10, None)
    assert file.read_bytes() == b'{"updates": 1}\n'
    damaged = tmp_path / "metrics.jsonl.damaged"
    assert damaged.read_bytes() == written and damaged.name in said


@pytest.mark.parametrize("name", ["config.json", "summary.json", "metrics.jsonl", "lock"])
def test_every_other_file_of_a_run(
    name: str,
    base: Path,
    same_driver: None,
    driver: Driver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """These can be made again from the checkpoint, or nothing is touched and a sentence says so."""
    chance = random.Random(name)
    damages = [turn_into_folder, turn_into_words]
    for damage in [*damages, flip, turn_into_loop] if name == "metrics.jsonl" else damages:
        run = tmp_path / damage.__name__
        shutil.copytree(base, run)
        damage(run / name, chance)
        if name == "metrics.jsonl":
            command(capsys, "plot", "--run", run, "--out", tmp_path / "a.png")
        status, said = train(capsys, run, 25)
        assert status in (0, 1, 2), said
        assert status == 0 or damage in (turn_into_folder, turn_into_loop), said
        assert updates_of(run) == (15 if status else 25), damage
        if status:
            small_run.assert_same(state_of(run, driver), state_of(base, driver))


# Rewards that are no numbers, and environments that die


def spoiling(driver: Driver, bad: float) -> Driver:
    """A driver to whose seventh call one of the worlds comes with this reward."""
    calls = iter(range(10**9))

    def advance(state: RunState, *counts: int) -> Any:
        if next(calls) == 6:
            envs = state.envs
            row = envs.timestep._replace(reward=envs.timestep.reward.at[1].set(bad))
            score = envs.score.at[1].set(bad)  # as `keep_score` has counted it
            state = state._replace(envs=envs._replace(timestep=row, score=score))
        return driver.advance(state, *counts)

    return driver._replace(advance=advance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_no_number(
    bad: float,
    driver: Driver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runs, "make_driver", lambda *_: spoiling(driver, bad))
    status, said = train(capsys, tmp_path / "run", 500)
    assert status == 1
    assert re.search(r"reward.* was not finite before update \d+|became nan before", said), said
    assert "keeps the last good checkpoint" in said
    kept = state_of(tmp_path / "run", driver)
    assert int(kept.updates) >= 1
    for name, array in small_run.arrays(kept).items():
        assert np.isfinite(array).all(), name


class Dies(gymnasium.Env):
    """Does what `how` says from step 121 on, and then cannot even be closed."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    how: Callable[[], Any] = staticmethod(lambda: None)
    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        Dies.count += 1
        answer = Dies.how() if Dies.count > 120 else None
        if answer is not None:
            return answer
        obs = np.full(2, 0.5, np.float32)
        return obs, 1.0, Dies.count % 7 == 0, False, {}

    def close(self) -> None:
        if Dies.count > 120:
            raise OSError("the pipe is gone")


def raising(error: BaseException) -> Callable[[], Any]:
    def how() -> Any:
        raise error

    return how


ZEROS = np.zeros(2, np.float32)
DEATHS: dict[str, Callable[[], Any]] = {
    "raises": raising(RuntimeError("two\nlines.")),
    "ends the process": raising(SystemExit(3)),
    "pipe": raising(BrokenPipeError(32, "Broken pipe")),
    "memory": raising(MemoryError()),
    "infinite reward": lambda: (ZEROS, np.inf, False, False, {}),
    "NaN reward": lambda: (ZEROS, np.nan, False, False, {}),
    "no reward": lambda: (ZEROS, None, False, False, {}),
    "another shape": lambda: (np.zeros(3, np.float32), 0.0, False, False, {}),
    "nothing": lambda: (),
}


@pytest.fixture(scope="module")
def dying() -> Iterator[tuple[Any, Driver]]:
    gymnasium.register("Dies-v0", entry_point=lambda: Dies())  # type: ignore
    try:
        config = make_config("gym/Dies-v0", **small_run.SETTINGS)
        yield config, hosted.make_driver(config, worlds.make("gym/Dies-v0"))
    finally:
        gymnasium.registry.pop("Dies-v0")


@pytest.mark.filterwarnings("ignore:.*closing it raised")
@pytest.mark.parametrize("death", DEATHS)
def test_an_environment_that_dies(
    death: str, dying: tuple[Any, Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, driver = dying
    monkeypatch.setattr(Dies, "count", 0)
    monkeypatch.setattr(Dies, "how", staticmethod(DEATHS[death]))
    seen = []
    records = runs.run(config, tmp_path, Limits(updates=400), save_every=0, driver=driver)
    with pytest.raises(WorldError) as error:
        for record in records:
            seen.append(record["updates"])
    said = str(error.value)
    assert re.fullmatch(r"gym/Dies-v0: [^\n]*\.", said) and "closing" not in said, said
    assert seen and updates_of(tmp_path) == seen[-1]
    kept = state_of(tmp_path, driver)
    assert all(np.isfinite(x).all() for x in small_run.arrays(kept).values())


def test_an_environment_that_cannot_be_closed(
    dying: tuple[Any, Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is saved before its worlds are let go, and is as good as any other."""
    config, driver = dying
    monkeypatch.setattr(Dies, "count", 0)
    last = 0
    with pytest.warns(UserWarning, match="closing it raised OSError: the pipe is gone"):
        for record in runs.run(config, tmp_path, Limits(updates=200), driver=driver):
            last = record["updates"]
    assert updates_of(tmp_path) == last >= 200


# Agents from strangers


@pytest.fixture(scope="module")
def agent(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "catch.safetensors"
    agents.export(base, path)
    return path


def refused(path: Path) -> str:
    """The one sentence about an agent, without anything that could fool a terminal."""
    with pytest.raises(CheckpointError) as error:
        agents.load_agent(path)
    return check_sentence(str(error.value))


def check_sentence(said: str) -> str:
    assert said.isprintable() and said.endswith(".") and len(said) < 1500, said
    return said


def signed(agent: Path, path: Path, data: bytes | None = None, **about: Any) -> Path:
    """A copy of the agent with other contents and a checksum that is right, as anybody can make."""
    data = agent.read_bytes() if data is None else data
    described = json.loads(agent.with_suffix(".json").read_text(encoding="utf-8")) | about
    described.pop("checksum")
    text = json.dumps(described, sort_keys=True).encode()
    described["checksum"] = hashlib.sha256(data + text).hexdigest()
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(described), encoding="utf-8")
    return path


def with_header(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A safetensors file with another header; `change` gives a new one or changes it in place."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(changed or header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_region_of_an_agent_file(suffix: str, agent: Path, tmp_path: Path) -> None:
    """A byte flipped in each of 64 regions, and what else can happen to a file."""
    path = tmp_path / "a.safetensors"
    good = agent.with_suffix(suffix).read_bytes()
    for file in (".safetensors", ".json"):
        shutil.copy(agent.with_suffix(file), path.with_suffix(file))
    assert agents.load_agent(path).config == CONFIG
    chance = random.Random(suffix)
    for part in np.array_split(np.arange(len(good)), 64):
        data = bytearray(good)
        data[chance.choice(part)] ^= 1 << chance.randrange(8)
        path.with_suffix(suffix).write_bytes(data)
        refused(path)
    for damage in (cut, zero, grow, lose, turn_into_folder, turn_into_loop):
        target = path.with_suffix(suffix)
        with contextlib.suppress(IsADirectoryError, FileNotFoundError):
            target.unlink()
        target.write_bytes(good)
        damage(target, chance)
        if suffix == ".json" and damage is grow:
            target.write_bytes(good + b"}")  # blanks would be no damage
        refused(path)
        if target.is_dir():
            target.rmdir()


STRANGE: list[Any] = [
    None, True, -1, 0, 1, 10**9, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "x",
    "../../etc", "\x1b[2J\n\x00", "\u202e", "9" * 5000, [], [1], [None],
    [10**12], ["x"], [64] * 8, {}, {"a": 1},
]  # fmt: skip


def test_a_strangers_description(agent: Path, tmp_path: Path) -> None:
    """Every setting with every strange value, and rightly signed."""
    path = tmp_path / "a.safetensors"
    config = json.loads(agent.with_suffix(".json").read_text(encoding="utf-8"))["config"]
    watch = Watch()
    chance, loaded = random.Random(0), 0
    for name in config:
        for value in STRANGE if name in ("world", "multipliers") else chance.sample(STRANGE, 2):
            signed(agent, path, config=config | {name: value})
            with watch:
                loaded += accepted(path)
    for values in (
        None, [], "x", {}, config | {"stranger": 1}, config | {"\x1b[2J\n" * 100: 1},
        {k: v for k, v in config.items() if k != "units"}, [config] * 2,
    ):  # fmt: skip
        signed(agent, path, config=values)
        refused(path)
    for value in STRANGE:
        signed(agent, path, format=value)
        assert accepted(path) == (value == 1)  # True is 1
    assert loaded > 5, "what does not change the networks is fine"
    assert watch.seen == []


def accepted(path: Path) -> bool:
    """Whether an agent loads; if not, it must be by one sentence."""
    try:
        agents.load_agent(path)
        return True
    except CheckpointError as error:
        check_sentence(str(error))
        return False


def test_a_strangers_arrays(agent: Path, tmp_path: Path) -> None:
    """Headers that lie, and hundreds of random changes, all rightly signed."""
    path, good = tmp_path / "a.safetensors", agent.read_bytes()
    size = int.from_bytes(good[:8], "little")
    first = next(k for k in json.loads(good[8 : 8 + size]) if k != "__metadata__")
    nested = b'{"a":' * 50_000

    def entry(**changes: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda header: header[first].update(changes)

    changes: list[Callable[[dict[str, Any]], Any]] = [
        *(entry(shape=x) for x in ([], [0], [-1], [2**40], [2**63] * 2, [1.5], None, "x")),
        *(entry(dtype=x) for x in ("F64", "F16", "BF16", "F8_E4M3", "I64", "BOOL", "O", None, 7)),
        *(entry(data_offsets=x) for x in ([0, 0], [4, 0], [0, 2**62], [-8, 8], [0], None, "x")),
        lambda header: header.update({"../../../tmp/evil": header[first]}),
        lambda header: header.update({"\x1b[2J": header.pop(first)}),
        lambda header: header.pop(first),
        lambda header: header.update(extra=dict(dtype="F32", shape=[0], data_offsets=[0, 0])),
        lambda header: header.update(__metadata__={"a": 1}),
        lambda header: b"",
        lambda header: b"[]",
        lambda header: b"\xff" * 100,
        lambda header: nested,
        lambda header: json.dumps(header).encode() + b" " * 2**21,
    ]  # fmt: skip
    files = [with_header(good, change) for change in changes]
    lengths = (0, 1, size - 1, size + 1, 2**32, 2**64 - 1)
    files += [n.to_bytes(8, "little") + good[8:] for n in lengths]
    files += [b"", good[:8], good[: 8 + size], good + b"\0", good + good, b"\x80\x04." + good]
    watch = Watch()
    with watch:
        for data in files:
            refused(signed(agent, path, data))
        chance = random.Random(0)
        for _ in range(60):
            data = bytearray(good)
            for _ in range(chance.choice([1, 1, 3, 30])):
                inside = chance.random() < 0.8
                data[chance.randrange(8 + size if inside else len(data))] = chance.randrange(256)
            accepted(signed(agent, path, bytes(data)))
    nan = good[:-4] + b"\xff" * 4
    assert "not finite" in refused(signed(agent, path, nan))
    assert watch.seen == []


class Watch:
    """Inside, notices code that is compiled, run or loaded, programs, connections, and writing.

    What the test itself writes, in pytest's folders, is left out.
    """

    EVENTS = frozenset(
        "compile exec import os.system os.exec os.fork os.posix_spawn subprocess.Popen "
        "pickle.find_class marshal.loads ctypes.dlopen socket.connect os.remove os.rename".split()
    )

    def __init__(self) -> None:
        self.on, self.seen = False, []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax+"
        if event in self.EVENTS or (writes and "pytest" not in str(arguments[0])):
            self.seen.append((event, str(arguments)[:200]))

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *_: object) -> None:
        self.on = False


def test_a_stranger_cannot_import_a_module(
    agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gymnasium imports what stands before the colon; here only if somebody typed it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_worlds.py").write_text("open('harm', 'w')", encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = json.loads(agent.with_suffix(".json").read_text(encoding="utf-8"))["config"]
    world = "gym/evil_worlds:Evil-v0"
    path = signed(agent, tmp_path / "a.safetensors", config=config | {"world": world})
    for name in (str(path), "a.safetensors"):
        status, said = command(capsys, "evaluate", "--agent", name)
        assert status == 2 and "would import the module 'evil_worlds'" in said
        assert f"--world {world}" in said
    for other in ("gym/evil_worlds:", "gym/ evil_worlds:x", "gym/.evil_worlds:x", "evil_worlds:x"):
        refused(signed(agent, path, config=config | {"world": other}))
    assert not (tmp_path / "harm").exists() and "evil_worlds" not in sys.modules
    command(capsys, "evaluate", "--agent", path, "--world", world)
    assert (tmp_path / "harm").exists(), "the way that the sentence names"
    sys.modules.pop("evil_worlds", None)


def test_a_stranger_cannot_take_memory(agent: Path, tmp_path: Path) -> None:
    """Files of a few bytes that ask for gigabytes, and long ones."""
    path, config = (
        tmp_path / "a.safetensors",
        json.loads(agent.with_suffix(".json").read_text(encoding="utf-8")),
    )
    config = config["config"]
    layers = {name: 8 for name in config if name.endswith("_layers")}
    huge = config | layers | dict(
        deter=16384, hidden=8192, units=8192, stoch=256, classes=256, depth=512, bins=1023,
        blocks=1, image_net="dense", multipliers=[64] * 1,
    )  # fmt: skip
    tracemalloc.start()
    try:
        for data in (None, b"", (2**62).to_bytes(8, "little")):
            refused(signed(agent, path, data, config=huge))
            refused(signed(agent, path, data, config=huge | {"image_net": "patch", "kernel": 1}))
        signed(agent, path)
        os.truncate(path, 2**28)  # zeros that take no room on the disk
        refused(path)
        data = agent.read_bytes()
        signed(agent, path, data + bytes(2**23))
        tracemalloc.reset_peak()
        refused(path)
        path.with_suffix(".json").write_text("[" * 2**24, encoding="utf-8")
        refused(path)
        os.truncate(path.with_suffix(".json"), 2**33)
        refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2**28, "the settings ask for 10 GB and more"
    finally:
        tracemalloc.stop()


# Interrupts


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The words of a command, and a run that they have begun."""
    words = ["train", "--world", "gym/CartPole-v1"]
    words += [w for n, v in small_run.SETTINGS.items() for w in ("--set", f"{n}={v}")]
    folder = tmp_path_factory.mktemp("cartpole") / "run"
    assert main([*words, "--updates", "10", "--run", str(folder)]) == 0
    return words, folder


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("phase", fault_child.PHASES)
def test_ctrl_c_in_every_phase(
    phase: str, presses: int, cartpole: tuple[list[str], Path], tmp_path: Path
) -> None:
    """Once saves, twice stops at once; either way the run goes on."""
    words, begun = cartpole
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    words = [*words, "--updates", "40", "--run", str(run)]
    own_cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}  # so that it compiles
    own_cache["PYTHONPATH"] = str(small_run.ROOT)
    child = small_run.start([fault_child.__file__, phase, str(presses), *words], **own_cache)
    out, err = child.communicate(timeout=400)
    print(err)
    assert "Traceback" not in err and "Exception ignored" not in err, err
    assert child.returncode == 130, err
    assert "Stopping: finishing this step and saving" in err
    if presses == 1:
        assert "Saved in" in out
        assert metrics(run)[-1]["updates"] == updates_of(run) >= 10
    else:
        assert err.splitlines()[-1] == (
            "dreamer-lite: Stopped at once; the run continues from its last checkpoint."
        )
        assert updates_of(run) >= 10
    assert main(words) == 0
    assert updates_of(run) >= 40
    assert all(place.name.isdigit() for place in (run / "state").iterdir())


# Kills

KILLS = int(os.environ.get("DREAMER_LITE_KILLS", "100"))


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is lost beyond the last checkpoint, and none is wrong: all equal those of one run.

    It saves after every record, and is killed up to 4 s after its start: while it loads, acts,
    learns, and mostly while it saves. The processes are forks of one that has imported JAX but
    not used it, which spares each the seconds of importing.
    """
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", f"{small_run.ROOT}{os.pathsep}{small_run.ROOT / 'tests'}")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["fault_child"])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_through(forks, killed, 5)  # fills the cache; later processes only read there
    chance, caught, last = random.Random(0), {"saving": 0, "before news": 0}, 5
    for number in range(KILLS):
        told = kill_one(forks, killed, chance)
        now = updates_of(killed)  # whole
        assert now >= max([last, *told]), f"kill {number} lost what had been saved"
        caught["before news"] += not told
        caught["saving"] += (killed / "state" / "partial").exists()
        last = now
    updates = last + 10
    run_through(forks, killed, updates)
    run_through(forks, whole, updates)
    driver = make_driver(small_run.config(**fault_child.LONG_REPLAY), worlds.make("catch"))
    state = state_of(killed, driver)
    rows, length = int(state.steps), state.replay.deter.shape[0]
    assert rows == int(state.replay.added) < length, "every row is still there"
    small_run.assert_same(state, state_of(whole, driver))
    assert metrics(killed) == metrics(whole)
    print(f"{KILLS} kills, {updates} updates, {rows} rows of 4 worlds, {caught}")


def run_through(forks: Any, folder: Path, updates: int) -> None:
    reader, writer = forks.Pipe(duplex=False)
    child = forks.Process(target=fault_child.train, args=(str(folder), updates, 60.0, writer))
    child.start()
    child.join(600)
    assert child.exitcode == 0


def kill_one(forks: Any, folder: Path, chance: random.Random) -> list[int]:
    """Start the run, kill it; returns the updates it told of, each of which was saved before."""
    reader, writer = forks.Pipe(duplex=False)
    child = forks.Process(target=fault_child.train, args=(str(folder), 10**6, 0.0, writer))
    child.start()
    writer.close()
    wait = chance.uniform(0, 1)
    if chance.random() < 0.7:  # else while it still loads
        assert reader.poll(300), "it gave no sign of life"
    time.sleep(wait)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    told = []
    with contextlib.suppress(EOFError):
        while reader.poll():
            told.append(reader.recv())
    return told


# Servers


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_make_lab_serves_only_this_machine_and_those_with_the_token(tmp_path: Path) -> None:
    """The recipe of `make lab` itself, on folders of its own so that no setting of ours counts."""
    pytest.importorskip("jupyterlab")
    recipe = subprocess.run(
        ["make", "-n", "lab", f"VENV={sys.prefix}", "ARGS=--no-browser --allow-root"],
        cwd=small_run.ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    line = next(x for x in recipe.splitlines() if "jupyterlab" in x).lstrip("@")
    line = line.replace(f"{sys.prefix}/bin/python", sys.executable)
    folders = {f"JUPYTER_{x}_DIR": str(tmp_path / x) for x in ("RUNTIME", "CONFIG", "DATA")}
    environment = {k: v for k, v in os.environ.items() if k != "JUPYTER_TOKEN"} | folders
    server = subprocess.Popen(
        ["bash", "-c", f"exec {line}"], cwd=small_run.ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        about = wait_for(lambda: next(iter((tmp_path / "RUNTIME").glob("jpserver-*.json")), None))
        told = wait_for(lambda: json.loads(about.read_text(encoding="utf-8")))
        assert told["pid"] == server.pid
        assert told["hostname"] in ("localhost", "127.0.0.1") and len(told["token"]) >= 32
        assert not told["password"]
        assert listening(server.pid) <= {"127.0.0.1", "::1"}
        address = f"http://127.0.0.1:{told['port']}/api/contents"
        assert status_of(address) == 403
        assert status_of(address, "wrong" * 8) == 403
        assert status_of(address, told["token"]) == 200
        listed = {x["name"] for x in json.load(asked(address, told["token"]))["content"]}
        notebooks = {x.name for x in (small_run.ROOT / "notebooks").glob("*.ipynb")}
        assert listed - {"my_dreamer.py"} == notebooks | {"solutions", "dreamer.py", "LAB.md"}
        first = asked(f"http://127.0.0.1:{told['port']}/", told["token"]).geturl()
        assert first.endswith("/lab/tree/00_the_dream.ipynb")
    finally:
        server.terminate()
        server.wait(60)


def wait_for(found: Callable[[], Any]) -> Any:
    for _ in range(1200):
        with contextlib.suppress(OSError, ValueError):
            if (result := found()) is not None:
                return result
        time.sleep(0.1)
    raise AssertionError("the server did not start")


def asked(address: str, token: str | None = None) -> Any:
    """The answer of a server on this machine."""
    headers = {} if token is None else {"Authorization": f"token {token}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(urllib.request.Request(address, headers=headers), timeout=60)


def status_of(address: str, token: str | None = None) -> int:
    try:
        with asked(address, token) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def listening(process: int) -> set[str]:
    """The addresses at which a process accepts connections from this or other machines."""
    import socket

    sockets = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(link))
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for words in map(
            str.split, Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]
        ):
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                raw = np.frombuffer(bytes.fromhex(words[1].split(":")[0]), ">u4")
                found.add(socket.inet_ntop(family, raw.astype("<u4").tobytes()))
    assert found, "it listens nowhere"
    return found


# Terminals that are closed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("streams", ["closed terminal", "closed pipe", "none from the start"])
def test_what_cannot_be_told_is_saved(streams: str, number: int, tmp_path: Path) -> None:
    """Also nothing of what was to be printed gets into a file of the run."""
    run = tmp_path / "run"
    words = [*small_run.FLAGS, "--run", str(run)]
    start = [sys.executable, "-m", "dreamer_lite", "train", *words]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(small_run.cache())}
    reader, writer = os.openpty() if streams == "closed terminal" else os.pipe()
    if streams == "none from the start":
        start = ["sh", "-c", 'exec "$0" "$@" 0<&- 1>&- 2>&-', *start]
    child = subprocess.Popen(
        start, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, env=environment,
        start_new_session=True, cwd=small_run.ROOT,
    )  # fmt: skip
    os.close(writer)
    wait_for(lambda: len(metrics(run)) > 3 or None)  # what is printed so far fits into a buffer
    os.close(reader)
    time.sleep(0.5)
    child.send_signal(number)
    if number == signal.SIGHUP:
        child.send_signal(number)  # as the kernel and the shell do, one each
    assert child.wait(120) == 128 + number
    assert metrics(run)[-1]["updates"] == updates_of(run) > 1
