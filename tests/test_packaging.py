"""What `pip install .` brings: a wheel with the shipped agents, that works from an empty folder."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import small_run

from dreamer_lite import assets, worlds
from dreamer_lite.course import colab

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "dreamer_lite", "assets")


def pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, "--no-deps"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what belongs into it."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip("building needs setuptools>=77, which `make` installs")
    copy = tmp_path_factory.mktemp("copy")
    for name in PARTS:
        of = ROOT / name
        (shutil.copytree if of.is_dir() else shutil.copy)(of, copy / name)
    pip("wheel", "--no-build-isolation", "--wheel-dir", copy / "dist", copy)
    return next((copy / "dist").iterdir())


def test_every_package_and_asset_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = [*(ROOT / "dreamer_lite").rglob("*.py"), *(ROOT / "dreamer_lite").rglob("*.toml")]
    modules += (ROOT / "dreamer_lite" / "page" / "js").rglob("*.*")
    assert {path.relative_to(ROOT).as_posix() for path in modules} <= inside
    for folder in ("agents", "curves", "figures"):
        there = {f"dreamer_lite/_assets/{name}" for name in assets.names(folder)}
        assert there and there <= inside
    top = {name.split("/")[0] for name in inside}
    assert all(name.startswith("dreamer_lite") for name in top), "nothing else in site-packages"
    assert wheel.stat().st_size < 20e6


PROGRAM = """
import json, sys
from dreamer_lite import assets; from dreamer_lite.course import colab, curves
from dreamer_lite.__main__ import main
curves.load("breakout_dreamer")
print(json.dumps([assets.agents(), str(assets.path("figures/00_dream.png")),
                  colab.requirements("gym", "atari")]))
sys.exit(main(["evaluate", "--agent", "catch", "--episodes", "2"]))
"""


def test_a_shipped_agent_plays_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site-packages", tmp_path / "empty"
    empty.mkdir()
    pip("install", "--target", site, wheel)
    (site / "assets" / "agents").mkdir(parents=True)  # of another package
    (site / "assets" / "agents" / "foreign.safetensors").write_bytes(b"")
    (site / "pyproject.toml").write_text('[project]\nname = "foreign"\n', encoding="utf-8")
    words = os.environ | {"PYTHONPATH": str(site)}
    words["JAX_COMPILATION_CACHE_DIR"] = str(small_run.cache())
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, cwd=empty, env=words, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found, said = result.stdout.splitlines()
    agents, figure, wanted = json.loads(found)
    assert agents == assets.agents() and Path(figure).is_relative_to(site / "dreamer_lite")
    assert {"pygame", "ale-py", "mediapy"} <= {colab.distribution(line) for line in wanted}
    assert re.match(r"Return .* over 2 episodes", said)
    assert not any(empty.iterdir())


def test_no_sentence_takes_our_name_from_an_index() -> None:
    """`pip install dreamer_lite` installs what somebody else has registered under that name."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.md"), *ROOT.glob("notebooks/src/*.py")]
    files += [*(ROOT / "dreamer_lite").rglob("*.py"), ROOT / "assets" / "README.md"]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"pip install[^\n`]*dreamer[-_]lite", text), file
    for family in worlds.families():
        assert "dreamer_lite" not in family.remedy
