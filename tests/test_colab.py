"""Setting up: nothing outside Colab; on Colab only what is missing, never jax, flax or numpy."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dreamer_lite import files
from dreamer_lite.course import colab
from dreamer_lite.runs import places


@pytest.fixture
def pip(monkeypatch):
    """Colab with some distributions; `pip` collects what would be installed and installs it."""
    calls = []
    have = {"jax": "0.7.2", "jaxlib": "0.7.2", "flax": "0.11.2", "numpy": "2.1.3", "optax": "0.2.8"}

    def call(command, **_):
        constraints = command[command.index("--constraint") + 1]
        calls.append((command, Path(constraints).read_text(encoding="utf-8").split()))
        have.update({colab.distribution(word): "1" for word in command[6:] if word[0].isalpha()})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(colab, "installed", lambda: dict(have))
    monkeypatch.setattr(colab.subprocess, "run", call)
    return calls


def wanted(command: list[str]) -> set[str]:
    after = command[command.index("--constraint") + 2 :]
    return {colab.distribution(word) for word in after if not word.startswith("--")}


def test_outside_colab_it_prints_one_line_and_installs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(colab.subprocess, "run", lambda *a, **k: pytest.fail("it ran something"))
    colab.setup()
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "dreamer_lite" in out and "device: cpu" in out
    assert err == ""


def test_xla_keeps_its_errors_for_itself_unless_asked(tmp_path):
    """As that of a slow compilation; here one about a folder that cannot be made."""
    (tmp_path / "file").touch()
    code = (
        "import sys; from dreamer_lite.course import colab; assert 'jax' not in sys.modules; "
        "colab.setup(); import jax; jax.jit(lambda x: x + 1)(1.0)"
    )
    plain = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    plain["XLA_FLAGS"] = f"--xla_dump_to={tmp_path / 'file' / 'folder'}"
    for given in ({}, {"TF_CPP_MIN_LOG_LEVEL": "0"}):
        done = subprocess.run(
            [sys.executable, "-c", code], env=plain | given, capture_output=True, text=True
        )
        assert done.returncode == 0 and ("Could not create" in done.stderr) == bool(given)


def test_on_colab_it_adds_what_is_missing_under_constraints_and_only_once(pip, capsys):
    colab.setup()
    (command, constraints), = pip  # fmt: skip
    assert {"mediapy", "safetensors", "orbax-checkpoint"} <= wanted(command)
    assert not wanted(command) & {*colab.NEVER, "optax"}
    assert {"jax==0.7.2", "numpy==2.1.3", "optax==0.2.8"} <= set(constraints)
    out = capsys.readouterr().out
    assert "Installing" in out and "Change runtime type" in out
    colab.setup()
    assert len(pip) == 1


def test_a_kernel_without_what_the_package_needs_is_one_sentence(monkeypatch, capsys):
    have = {name: "1" for name in colab.installed() if name not in ("flax", "mediapy")}
    monkeypatch.setattr(colab, "installed", lambda: have)
    with pytest.raises(ImportError, match=r"has no flax, mediapy: choose the kernel of .*\.$"):
        colab.setup("atari")
    assert capsys.readouterr().out == ""


def test_dm_control_goes_without_its_requirements_on_python_3_13(pip, monkeypatch):
    monkeypatch.setattr(colab, "PYTHON", (3, 13))
    colab.setup("dmc")
    together, alone = (command for command, _ in pip)
    assert wanted(alone) == {"dm-control"} and "--no-deps" in alone
    assert {"dm-env", "dm-tree", "lxml", "mujoco"} <= wanted(together)
    assert "--no-deps" not in together


def test_dm_control_is_ordinary_before(pip, monkeypatch):
    monkeypatch.setattr(colab, "PYTHON", (3, 12))
    colab.setup("dmc")
    (command, _), = pip  # fmt: skip
    assert {"dm-control", "mujoco"} <= wanted(command)


def test_what_pip_says_is_passed_on(pip, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "one\nERROR: no such thing\n")
    monkeypatch.setattr(colab.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RuntimeError, match="ERROR: no such thing"):
        colab.setup()


def test_an_unknown_extra_is_refused():
    with pytest.raises(ValueError, match="valid are atari, dev, dmc, gym, notebooks"):
        colab.setup("walker")


def test_names_are_compared_as_pip_does():
    assert colab.distribution("dm_control>=1.0.50") == "dm-control"
    assert colab.distribution("jax[cuda12]==1") == "jax"


def test_jax_flax_and_numpy_are_never_asked_for():
    asked = {colab.distribution(line) for line in colab.requirements("atari", "notebooks")}
    assert not asked & set(colab.NEVER)
    assert {"optax", "ale-py", "jupytext"} <= asked


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """Colab with a Google Drive; what is put into `said` is raised by the next mount."""
    said = []

    def mount(place):
        if said:
            raise said.pop()
        assert place == str(tmp_path)

    fake = types.ModuleType("google.colab.drive")
    fake.mount = mount  # pyright: ignore
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.drive", fake)
    monkeypatch.setattr(files, "DRIVE", tmp_path)
    return said


def test_google_drive_is_mounted_on_colab_only(drive, tmp_path, monkeypatch):
    assert colab.drive(wanted=False) is None and not any(tmp_path.iterdir())
    assert colab.drive() == tmp_path / "MyDrive" / "dreamer-lite" and colab.drive().is_dir()  # pyright: ignore
    monkeypatch.delitem(sys.modules, "google.colab")
    assert colab.drive() is None


def test_a_mount_that_is_refused_or_fails_is_one_sentence(drive, tmp_path, capsys):
    for error in (ValueError("mount failed"), RuntimeError("credential propagation")):
        drive.append(error)
        assert colab.drive() is None
        out = capsys.readouterr().out
        assert out.startswith(f"Google Drive could not be mounted ({error}): all files stay")
        assert out.count("\n") == 1
    (tmp_path / "MyDrive").write_text("a full or foreign disk", "utf-8")
    assert colab.drive() is None and "could not be mounted" in capsys.readouterr().out


def test_files_are_offered_for_download_on_colab_only(monkeypatch, tmp_path, capsys):
    colab.download(tmp_path / "film.mp4")
    offered = []

    def download(path):
        offered.append(path)
        if path.endswith(".json"):
            raise RuntimeError("blocked")

    fake = types.ModuleType("google.colab.files")
    fake.download = download  # pyright: ignore
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.files", fake)
    colab.download(tmp_path / "film.mp4", tmp_path / "agent.json")
    assert offered == [str(tmp_path / "film.mp4"), str(tmp_path / "agent.json")]
    assert capsys.readouterr().out.startswith("agent.json was not downloaded (blocked)")


def test_kaggle_installs_what_is_missing_and_keeps_runs_in_its_output(pip, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "google.colab")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("DREAMER_LITE_RUNS", "")  # put back by monkeypatch
    monkeypatch.delenv("DREAMER_LITE_RUNS")
    colab.setup()
    assert len(pip) == 1 and "mediapy" in wanted(pip[0][0])
    assert places.home() == Path("/kaggle/working/runs")
    assert "menu Settings, Accelerator" in capsys.readouterr().out
    assert colab.drive() is None


def test_of_flax_only_what_colabs_version_has_too():
    """Seen on 0.11.2 and 0.12.12; `nnx.static`, `nnx.List` and `nnx.Dict` are not in the first."""
    portable = set(
        "Module Param data graphdef merge split state to_flat_state to_pure_dict".split()
    )
    portable |= set("Linear Rngs Optimizer jit".split())  # notebook 01
    root = Path(colab.__file__).parents[2]
    files = [*(root / "dreamer_lite").rglob("*.py"), *(root / "notebooks").rglob("*.py")]
    used = {
        name
        for file in files
        for name in re.findall(r"\bnnx\.(\w+)", file.read_text(encoding="utf-8"))
    }
    assert used and used <= portable
