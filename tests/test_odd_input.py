"""What commands answer to odd records, names, numbers and surroundings: one sentence."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import small_run
from matplotlib.figure import Figure

from dreamer_lite import assets
from dreamer_lite.__main__ import main
from dreamer_lite.commands.dream import MARK
from dreamer_lite.commands.train import report
from dreamer_lite.course.widgets import Dashboard
from dreamer_lite.evaluation import rollouts
from dreamer_lite.show import plots, video

ODD_NAMES = ("a$\\frac$b", "$x$", "_hidden", "a\nb", "\udcff", "\x1b[2J", "50 $ and $ 60", "\\$")


def answer(capsys: pytest.CaptureFixture, status: int, *words: object) -> str:
    """The one sentence that a command ends with."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"dreamer-lite: .*\.", line), line
    return line


# Worlds that do not end, and more episodes than there is room for


class Endless(gymnasium.Env):
    """Goes on and on."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple:
        return np.zeros(2, np.float32), 1.0, False, False, {}


def test_an_endless_world(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rollouts, "LONGEST", 20)
    spec = gymnasium.envs.registration.EnvSpec("Endless-v0", entry_point=Endless)
    monkeypatch.setitem(gymnasium.registry, "Endless-v0", spec)
    words = ["--agent", "random", "--world", "gym/Endless-v0"]
    for command in (["evaluate"], ["record", "--out", tmp_path / "x.mp4"]):
        line = answer(capsys, 1, *command, *words)
        assert "gym/Endless-v0 did not end within 20 steps" in line


@pytest.mark.parametrize("command", ["evaluate", "record"])
def test_too_many_episodes(
    command: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [command, "--agent", "random", "--world", "catch", "--episodes"]
    assert "at most 10000" in answer(capsys, 2, *words, 2_000_000_000)
    if command == "record":
        monkeypatch.setattr("dreamer_lite.training.memory.free_host_bytes", lambda: 1000)
        assert "50 episodes need more memory" in answer(capsys, 2, *words, 50)


# Records and names


def record(**changes: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(plots.COLUMNS, 1.0) | {"loss/reward": 0.5, "loss/image": 2}
    found = {name: x for name, x in (numbers | changes).items() if x != "absent"}
    return found


def several(**changes: Any) -> dict[str, Any]:
    own = {"return_mean": [1, 2], "episodes": [3, 4], "loss/reward": [1, 2], "loss/image": [1, 2]}
    return record(seeds={name: x for name, x in (own | changes).items() if x != "absent"})


def run_of(folder: Path, *records: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(x) + "\n" for x in records), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    "odd",
    [
        record(**{"loss/reward": "high"}), record(**{"loss/reward": None}),
        record(**{"loss/reward": [1]}), record(**{"loss/reward": 10**400}),
        record(**{"loss/reward": float("nan")}), record(updates=10**400),
        record(return_mean=float("inf")), record(return_mean=True), record(seconds="absent"),
        record(agent_steps=1e308), record(seeds=3), record(seeds=None), record(seeds={}),
        several(), [], "x", None, 7,
    ],
)  # fmt: skip
def test_records_that_cannot_be_drawn(
    odd: Any, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    for records in ([record(), odd], [record(), odd, record()]):
        folder = run_of(tmp_path / str(len(records)), *records)
        for out in ("x.png", "x.csv"):
            line = answer(capsys, 2, "plot", "--run", folder, "--out", tmp_path / out)
            assert "metrics.jsonl is damaged: line 2 is no progress record" in line


@pytest.mark.parametrize(
    "odd",
    [
        several(return_mean="absent"), several(episodes=3), several(episodes=[]),
        several(return_mean=[1, 2, 3]), several(return_mean=[1, "x"]), several(extra=[1]),
        several(**{"loss/x": [1, 2]}), record(seeds=[]), record(),
    ],
)  # fmt: skip
def test_records_of_several_seeds(odd: Any, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    for number, records in enumerate(([several(), odd], [odd, several()])):
        folder = run_of(tmp_path / str(number), *records)
        line = answer(capsys, 2, "plot", "--run", folder, "--out", tmp_path / "x.png")
        assert re.search(r"damaged: line \d is no progress record", line)


@pytest.mark.parametrize("make", [record, several])
def test_records_with_gaps(make: Any, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """A loss that some lines do not have, as of another version, is no damage."""
    gap = make()
    gap.pop("loss/image")
    if "seeds" in gap:
        gap["seeds"].pop("loss/image")
    for name, records in (("first", [gap, make()]), ("last", [make(), gap]), ("all", [gap])):
        folder = run_of(tmp_path / name, *records)
        for out in ("x.png", "x.csv"):
            assert main(["plot", "--run", str(folder), "--out", str(tmp_path / out)]) == 0


@pytest.mark.parametrize("name", ODD_NAMES)
def test_runs_with_odd_names(name: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    try:
        odd = run_of(tmp_path / name, record(), record())
    except OSError:
        pytest.skip("no folder can have this name here")
    other = run_of(tmp_path / "other", record())
    for words in ([odd], [odd, other]):
        for out in ("x.png", "x.csv"):
            runs_named = ["--run", *map(str, words)]
            assert main(["plot", *runs_named, "--out", str(tmp_path / out)]) == 0
    shown = plots.curves([(name, [record()]), ("other", [record()])]).axes[0].get_legend()
    assert len(shown.get_texts()) == 2
    plots.losses(name, [record()]).savefig(tmp_path / "y.png")


def test_the_current_folder_has_a_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(run_of(tmp_path / "mine", record()))
    assert main(["plot", "--run", ".", "--out", "x.png"]) == 0
    assert capsys.readouterr().out.startswith("mine: return")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_dashboards_last_picture(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("dreamer_lite.course.widgets.dashboard.in_notebook", lambda: True)
    board = Dashboard(small_run.config(), 5, tmp_path / "x", background=False)
    board.mirror = Path(name)
    board.error = ValueError(f"The mirror {name} is broken.")
    for board.records in ([], [record(updates_per_second=1.0)]):
        board.figure().savefig(tmp_path / "x.png")


# Surroundings


def test_an_encoding_without_plus_minus(tmp_path: Path) -> None:
    """ASCII, and names that are no text."""
    run = run_of(tmp_path / "\u03b1", record())
    words = ["-m", "dreamer_lite", "plot", "--run", str(run), "--out", str(tmp_path / "x.csv")]
    out, err = small_run.start(words, PYTHONIOENCODING="ascii").communicate(timeout=200)
    assert err == "" and out.startswith("\\u03b1: return 1.00 +/- 1.00 after")


def test_no_device(tmp_path: Path) -> None:
    program = (
        "from dreamer_lite.__main__ import main\n"
        "print(main(['doctor']), main(['evaluate', '--agent', 'catch']))"
    )
    out, err = small_run.start(["-c", program], JAX_PLATFORMS="abacus").communicate(timeout=200)
    said = "JAX finds no device for JAX_PLATFORMS=abacus: unset it, or install what it needs."
    assert f"MISS  device      {said}" in out and "ffmpeg" in out and out.endswith("1 2\n")
    assert err == f"dreamer-lite: {said}\n"


# Files


@pytest.mark.parametrize(
    "name", ["word:x.mp4", "-x.mp4", "file:x.gif", "-", "a%03d.mp4", "a b'.gif"]
)
def test_films_in_odd_places(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name if "." in name else f"{name}/x.mp4")
    video.write(path, np.zeros((3, 16, 16, 3), np.uint8))
    assert path.stat().st_size and [p.name for p in tmp_path.iterdir()] == [path.parts[0]]


def test_what_was_not_named_is_not_overwritten(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("package.json").write_text('{"name": "mine"}', encoding="utf-8")
    Path("keep.png").write_bytes(b"mine")
    Path("folder.png").mkdir()
    for words, file in (
        (["export", "--out", "package.safetensors"], "package.json"),
        (["dream", "--out", "keep.mp4"], "keep.png"),
        (["dream", "--out", "keep.gif"], "keep.png"),
    ):
        line = answer(capsys, 2, *words, "--agent", "nobody")
        assert f"{file} would be overwritten" in line and "another --out" in line
    assert "folder.png" in answer(capsys, 2, "dream", "--out", "folder.mp4", "--agent", "nobody")
    assert Path("package.json").read_text(encoding="utf-8") == '{"name": "mine"}'
    assert Path("keep.png").read_bytes() == b"mine"
    assert not Path("keep.mp4").exists() and not Path("package.safetensors").exists()


def test_what_the_commands_wrote_they_write_again(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(assets.path("agents/catch.json"), "a.json")
    Figure().savefig("a.png", metadata={"Software": MARK})
    for command, file in (("dream", "a.mp4"), ("export", "a.safetensors")):
        assert "nobody" in answer(capsys, 2, command, "--out", file, "--agent", "nobody")


def test_names_offered_for_copying_are_quoted(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, quoted in (("a b;touch x", "'a b;touch x"), ("-x", "./-x"), ("a'b", "'a'\"'\"'b")):
        numbers = ("return_mean", "return_stderr", "episodes", "updates", "agent_steps")
        times = ("wall_seconds", "first_update_seconds")
        summary = dict.fromkeys((*numbers, *times), 1) | {"seeds": 2}
        Path(name).mkdir()
        (Path(name) / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        assert report(Path(name), "catch") == 0
        out = capsys.readouterr().out
        assert f"record --agent {quoted}" in out and f"; {quoted}@SEED" in out
        for line in out.splitlines()[-3:-1]:
            words = shlex.split(line.partition("dreamer-lite ")[2])
            assert Path(words[2]) == Path(name)
