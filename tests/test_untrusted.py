"""Agents and run folders of strangers, in a folder full of modules that must not be imported."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.commands.output import Refused
from dreamer_lite.commands.plot import read_metrics
from dreamer_lite.runs import agents, checkpoints, mirror
from dreamer_lite.runs import run as runs
from dreamer_lite.runs.errors import CheckpointError
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds.gymnasium_envs import JaxEnv

CONFIG = small_run.config()
HARM = "open(__file__ + '-HARM', 'w').close()\n"
# Registers Catch under another name: an environment of one's own, for which the weights fit.
OWN = """
import gymnasium
import beside_it
gymnasium.register(
    "Own-v0", entry_point="dreamer_lite.worlds.gymnasium_envs:JaxEnv", kwargs={"world": "catch"}
)
"""
OWN_WORLD = "gym/own_world:Own-v0"
DISGUISE = "agent.safetensors"  # the name of a run folder
WORLDS = (
    "gym/evil:X-v0",
    "gym/os:LunarLander-v3",
    "gym/sys:Ant-v5",
    "gym/dreamer_lite.worlds.gym:LunarLander-v3",
    "gym/LunarLander-v3",
    "gym/LunarLander",
    "gym/Ant-v5",
    "gym/handed_in.evil:X-v0",
    "gym/evil:X:Y",
    "gym/ evil:X-v0",
    "gym/:X-v0",
    "gym/evil:",
    "gym/\u0435vil:X-v0",
    "gym/evil\uff1aX-v0",
    "gym/phys2d/evil:X-v0",
    "gym/DreamerLite/evil:X-v0",
    "gym/evil",
    "evil:X-v0",
    "evil",
    "GYM/evil:X-v0",
    "dmc/evil-run",
    "dmc/../evil:x",
    "atari/evil:x",
    "gym/$(touch HARM-shell):X-v0",
    "gym/evil:\x1b[2J\nX",
    OWN_WORLD,
)
OWN_AGENT = f"agent{WORLDS.index(OWN_WORLD)}.safetensors"
# What those worlds need, what the commands import late, and what `python -m` imports first.
MODULES = (
    "evil", "Box2D", "mujoco", "mujoco_py", "pygame", "own_world", "shimmy", "dm_control", "ale_py",
    "orbax", "safetensors", "mediapy", "imageio", "imageio_ffmpeg", "matplotlib", "tqdm", "PIL",
    "numpy", "jax", "gymnasium", "argparse", "json", "pathlib", "typing", "dataclasses",
)  # fmt: skip


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The loop of the small run."""
    return runs.make_driver(CONFIG, worlds.make("catch"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, driver: Driver) -> Path:
    """A run folder with a small agent."""
    folder = tmp_path_factory.mktemp("untrusted") / "run"
    list(runs.run(CONFIG, folder, Limits(updates=5), driver=driver))
    return folder


def file_of(run: Path, path: Path, world: str) -> Path:
    """An agent file of this world, rightly signed, as anybody can make one."""
    agents.export(run, path)
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    about["config"]["world"] = about["world"] = world
    about.pop("checksum")
    text = json.dumps(about, sort_keys=True).encode()
    about["checksum"] = hashlib.sha256(path.read_bytes() + text).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
    return path


def folder_of(run: Path, folder: Path, world: str) -> Path:
    """The run with another world, and checksums that are right."""
    shutil.copytree(run, folder)
    for place in (folder / "state").iterdir():
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        meta["config"]["world"] = world
        (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        sign(place)
    return folder


def sign(place: Path) -> None:
    """Make the manifest of a checkpoint right."""
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((place / "meta.json").read_bytes()).hexdigest()
    manifest["files"]["meta.json"] = digest
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture(scope="module")
def handed_in(run: Path, driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as somebody may hand it in: agents, runs, and harmful modules beside them."""
    folder = tmp_path_factory.mktemp("handed_in")
    for number, world in enumerate(WORLDS):
        file_of(run, folder / f"agent{number}.safetensors", world)
        folder_of(run, folder / f"run{number}", world)
    folder_of(run, folder / DISGUISE, "gym/evil:X-v0")
    meta = checkpoints.read_meta(run / "state")
    meta["config"]["world"] = "gym/evil:X-v0"
    mirror.check(folder / "mirror")
    mirror.push(folder / "mirror", driver.init(0), meta, run / "metrics.jsonl")
    for place in (folder, folder / "handed_in"):
        place.mkdir(exist_ok=True)
        for module in MODULES:
            (place / f"{module}.py").write_text(HARM, encoding="utf-8")
    return folder


def python(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    """A Python process that finds the package."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(small_run.cache())}
    environment |= {"PYTHONPATH": str(small_run.ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def names_of_agents(folder: Path) -> list[str]:
    """What stands for an agent there: agent files, run folders, and one of them in disguise."""
    return sorted(p.name for p in folder.iterdir() if re.match("agent.*[.]s|run|mirror", p.name))


def harm(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*HARM*"))


COMMANDS = """
import contextlib, io, json, sys
from dreamer_lite.__main__ import main

log = []
for agent in sys.argv[1:]:
    for words in (
        ["evaluate", "--agent", agent],
        ["evaluate", "--agent", agent + "@0"],
        ["record", "--agent", agent, "--out", "x.mp4"],
        ["dream", "--agent", agent, "--out", "x.mp4"],
        ["export", "--agent", agent, "--out", "x.safetensors"],
        ["export", "--agent", agent + "@0", "--out", "x.safetensors"],
        ["plot", "--run", agent, "--out", "x.csv"],
        ["train", "--world", "catch", "--updates", "1", "--run", agent],
        ["train", "--world", "catch", "--updates", "1", "--run", "new", "--mirror", agent],
    ):
        if agent != "mirror" and words[-2] == "--mirror":
            continue
        sys.argv = ["dreamer-lite", *words]
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            status = main()
        log.append([status, words, said.getvalue()])
print(json.dumps(log))
"""


def test_no_command_imports_what_nobody_typed(handed_in: Path, tmp_path: Path) -> None:
    """As the installed command runs: what its own folder has comes first, the current one not."""
    script = tmp_path / "dreamer-lite"
    script.write_text(COMMANDS, encoding="utf-8")
    done = python(str(script), *names_of_agents(handed_in), cwd=handed_in)
    assert harm(handed_in) == []
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    assert len(log) > 8 * 2 * len(WORLDS)
    for status, words, said in log:
        if words[0] == "plot":  # needs no world
            assert status in (0, 2), said
        else:
            assert status == 2 and re.fullmatch(r"dreamer-lite: .+\.", said.splitlines()[-1]), said
            assert said.splitlines()[-1].isprintable() and "Traceback" not in said, said
    (offer,) = {said for _, words, said in log if words[:3] == ["evaluate", "--agent", OWN_AGENT]}
    assert f"--world {OWN_WORLD} or" in offer
    assert not any("--world 'gym/$(" in said or "--world gym/$(" in said for *_, said in log)


def test_python_m_looks_for_no_module_in_the_current_folder(handed_in: Path) -> None:
    """Not for the package's own imports either, nor for Python's once the package has begun."""
    words = ["-m", "dreamer_lite", "evaluate", "--agent", f"agent{WORLDS.index('gym/Ant-v5')}"]
    done = python(*words[:-1], words[-1] + ".safetensors", cwd=handed_in)
    assert harm(handed_in) == []
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr


IN_A_NOTEBOOK = """
import json, sys
from pathlib import Path
from dreamer_lite import worlds; from dreamer_lite.runs import agents
from dreamer_lite.course.widgets import Dream, steer_in_page
here, sys.path[:0] = sys.argv[1], [""]  # as in a notebook
said = {}
for agent in sys.argv[2:]:
    try:
        agents.load(agent)
        said[agent] = ""
    except ValueError as error:
        said[agent] = str(error)
assert not list(Path().rglob("*HARM*"))
assert sys.path[0] == ""
own = [a for a in said if f"worlds.make({here!r})" in said[a]]
worlds.make(here)  # typed
for agent in own:
    assert agents.load(agent).config.world == here
print(json.dumps(own))
"""


def test_loading_in_python(handed_in: Path, tmp_path: Path) -> None:
    """As in a notebook, which looks for modules where it lies; what is typed first is loaded."""
    script = tmp_path / "script.py"
    script.write_text(IN_A_NOTEBOOK, encoding="utf-8")
    (handed_in / "beside_it.py").write_text("", encoding="utf-8")
    good = handed_in / "own_world.py"
    good.write_text(OWN, encoding="utf-8")
    try:
        done = python(str(script), OWN_WORLD, *names_of_agents(handed_in), cwd=handed_in)
    finally:
        good.write_text(HARM, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [OWN_AGENT, OWN_AGENT.replace("agent", "run")[:-12]]


TYPED = """
import json, sys
from dreamer_lite import files
from dreamer_lite.__main__ import main
files.forget_current_folder()
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
"""


@pytest.mark.parametrize("kind", ["agent", "run"])
def test_a_typed_world_is_imported(kind: str, run: Path, tmp_path: Path) -> None:
    """Its module, and what that imports, may lie in the current folder; nothing else is needed."""
    (tmp_path / "own_world.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("", encoding="utf-8")
    script = tmp_path / "bin" / "dreamer-lite"
    script.parent.mkdir()
    script.write_text(TYPED, encoding="utf-8")
    agent = "mine" if kind == "run" else "mine.safetensors"
    (folder_of if kind == "run" else file_of)(run, tmp_path / agent, OWN_WORLD)
    words = [["evaluate", "--agent", agent, "--world", OWN_WORLD, "--episodes", "1"]]
    if kind == "run":
        words += [["export", "--agent", agent, "--world", OWN_WORLD, "--out", "o.safetensors"]]
    done = python(str(script), json.dumps(words), cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("Return "), done.stderr


def test_only_the_typed_world_is_imported(handed_in: Path, capsys: pytest.CaptureFixture) -> None:
    """Not that of the agent, if it is another."""
    agent = handed_in / f"agent{WORLDS.index('gym/evil:X-v0')}.safetensors"
    for words in (["evaluate"], ["record", "--out", str(handed_in / "x.mp4")]):
        typed = [*words, "--agent", str(agent), "--world", "gym/CartPole-v1"]
        assert main(typed) == 2
        assert "would import the module 'evil'" in capsys.readouterr().err
    assert harm(handed_in) == []


@pytest.fixture
def plugin() -> Iterator[str]:
    """An id that some package has registered, whose module is not imported yet."""
    gymnasium.register("Plugin-v0", entry_point="evil_plugin.envs:Env")
    yield "gym/Plugin-v0"
    gymnasium.registry.pop("Plugin-v0")


def test_registered_ids_of_other_packages(
    plugin: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_plugin").mkdir()
    (tmp_path / "evil_plugin" / "envs.py").write_text(HARM, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    wrapper = gymnasium.envs.registration.WrapperSpec("W", "evil_plugin.envs:Wrapper", {})
    catch = "dreamer_lite.worlds.gymnasium_envs:JaxEnv"
    gymnasium.register("Wrapped-v0", entry_point=catch, additional_wrappers=(wrapper,))
    gymnasium.register("Function-v0", entry_point=lambda: JaxEnv("catch"))
    try:
        for world in (plugin, "gym/Wrapped-v0", "gym/Plugin"):
            agent = file_of(run, tmp_path / "a.safetensors", world)
            with pytest.raises(CheckpointError, match=r"import the module 'evil_plugin.envs'"):
                agents.load(str(agent))
            assert harm(tmp_path) == []
        file_of(run, tmp_path / "a.safetensors", "gym/Function-v0")  # nothing to import
        assert agents.load(str(tmp_path / "a.safetensors")).config.world == "gym/Function-v0"
        assert harm(tmp_path) == []
    finally:
        for id in ("Wrapped-v0", "Function-v0"):
            gymnasium.registry.pop(id)


# Names and kinds of files


def test_names_with_an_at(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`me@home.safetensors` is a file, also where there is a folder `me`."""
    monkeypatch.chdir(tmp_path)
    agents.export(run, Path("me@home.safetensors"))
    Path("me").mkdir()
    assert agents.load("me@home.safetensors").config == CONFIG
    shutil.copytree(run, "a b@c")
    assert agents.load("a b@c").config == agents.load("a b@c@0").config == CONFIG
    with pytest.raises(ValueError, match=r"as in 'a b@c@0'\."):
        agents.load("a b@c@x")
    shutil.copytree(run, "run.safetensors")
    for name in ("run.safetensors", "run.safetensors@0"):
        with pytest.raises(ValueError, match=r"(?i)is a directory|no agent"):
            agents.load(name)
        with pytest.raises(ValueError, match="no run folder"):
            agents.export(name, Path("x.safetensors"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listener(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("make", [pipe, zeros, listener, nothing, Path.mkdir])
def test_what_is_no_file_is_refused_at_once(make: Any, run: Path, tmp_path: Path) -> None:
    for suffix in (".safetensors", ".json"):
        agent = tmp_path / f"{suffix}.safetensors"
        agents.export(run, agent)
        agent.with_suffix(suffix).unlink()
        make(agent.with_suffix(suffix))
        with pytest.raises(CheckpointError, match=r"Cannot read .* \(.*\): an agent is a "):
            agents.load(str(agent))
    for name in ("manifest.json", "meta.json", "agent/_METADATA"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(run, folder)
        place = max((folder / "state").iterdir())
        (place / name).unlink(missing_ok=True)
        make(place / name)
        if name != "manifest.json":  # and the manifest does not tell
            manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
            manifest["files"].pop(name)
            (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        with pytest.raises(CheckpointError, match=f"{place.name} is damaged|cannot be read"):
            agents.load(str(folder))
    folder = tmp_path / "metrics"
    folder.mkdir()
    make(folder / "metrics.jsonl")
    with pytest.raises(Refused, match="Cannot read"):
        read_metrics(folder)


def test_links_to_files_are_files(run: Path, tmp_path: Path) -> None:
    agents.export(run, tmp_path / "true.safetensors")
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"link{suffix}").symlink_to(tmp_path / f"true{suffix}")
    (tmp_path / "linked-run").symlink_to(run)
    for agent in ("link.safetensors", "linked-run"):
        assert agents.load(str(tmp_path / agent)).config == CONFIG


def test_an_agent_is_read_while_its_run_goes_on(
    run: Path, tmp_path: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever what was the newest checkpoint is removed, the one that is newest then is read."""
    state, removed = driver.init(0), []
    meta = checkpoints.read_meta(run / "state")
    folder = shutil.copytree(run, tmp_path / "run")

    def saving(function: Any) -> Any:
        def save_then_read(place: Path, *args: Any) -> Any:
            if len(removed) < 6:
                removed.append(place)
                for _ in range(checkpoints.KEEP):
                    checkpoints.write(folder / "state", arrays, meta)
            return function(place, *args)

        return save_then_read

    rings, arrays = checkpoints.split_rings(state)
    arrays |= {name: x[:1] for name, x in rings.items()}
    for name in ("_changed", "read"):
        original = getattr(checkpoints, name)
        with monkeypatch.context() as patch:
            removed.clear()
            patch.setattr(checkpoints, name, saving(original))
            assert agents.load(str(folder)).config == CONFIG
        assert len(removed) == 6
