"""The house itself: pins, lower bounds, import order, docstrings, and the README's commands."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dreamer_lite"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The rooms of the library, by level: a room imports those of earlier levels only.
LEVELS = (
    "notices files heap assets config show",
    "presets worlds",
    "agent",
    "training",
    "runs evaluation baselines",
    "page",
    "tools course",
    "commands",
    "__main__",
)

# Some of the versions that Colab had in August 2026 (Python 3.13).
COLAB = {
    "jax": "0.7.2",
    "flax": "0.11.2",
    "optax": "0.2.8",
    "orbax-checkpoint": "0.12.4",
    "gymnasium": "1.3.0",
    "ale-py": "0.12.1",
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
    "nbclient": "0.10.4",
    "jupytext": "1.19.5",
    "anywidget": "0.9.21",
    "safetensors": "0.8.0",
    "tqdm": "4.67.3",
    "imageio-ffmpeg": "0.6.0",
}
# The one cap: dm_control breaks with mujoco 4.
CAPPED = {"mujoco"}


def requirements() -> list[Requirement]:
    """The lines of requirements.txt without comments, parsed."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [Requirement(line) for line in lines if line]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def metadata_requirements() -> list[Requirement]:
    """What the package and its extras ask for."""
    table = project()["project"]
    extras = table["optional-dependencies"].values()
    return [Requirement(line) for line in (*table["dependencies"], *(x for e in extras for x in e))]


def applies(requirement: Requirement, python: str) -> bool:
    marker = requirement.marker
    return marker is None or marker.evaluate({"python_version": python})


def test_requirements_pin_exact_versions() -> None:
    for requirement in requirements():
        assert requirement.url is None, requirement
        if requirement.name not in CAPPED:
            operators = [clause.operator for clause in requirement.specifier]
            assert operators == ["=="] and "*" not in str(requirement.specifier), requirement


def test_requirements_name_no_place_and_no_hash() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for word in ("://", "--hash", "sha256", "--index-url", "--extra-index-url", "--find-links"):
        assert word not in text


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_requirements_satisfy_the_metadata(python: str) -> None:
    pins = {r.name: r for r in requirements() if applies(r, python)}
    for wanted in metadata_requirements():
        if applies(wanted, python):
            pinned = next(iter(pins[wanted.name].specifier)).version
            if wanted.name in CAPPED:
                assert pins[wanted.name].specifier == wanted.specifier
            else:
                assert wanted.specifier.contains(pinned), f"{wanted} refuses {pinned}"


def test_metadata_has_lower_bounds_only() -> None:
    assert project()["project"]["requires-python"] == ">=3.11"
    for requirement in metadata_requirements():
        if requirement.name not in CAPPED:
            operators = [clause.operator for clause in requirement.specifier]
            assert operators == [">="], requirement


def test_metadata_admits_colab() -> None:
    for requirement in metadata_requirements():
        if requirement.name in COLAB:
            assert requirement.specifier.contains(COLAB[requirement.name]), requirement


def test_extras_and_settings() -> None:
    table = project()
    extras = {"gym", "atari", "dmc", "sweep", "notebooks", "dev"}
    assert set(table["project"]["optional-dependencies"]) == extras
    assert set(table["tool"]["dreamer_lite"]) == {"repository", "ref"}


def test_every_room_is_in_the_wheel() -> None:
    packages = project()["tool"]["setuptools"]["packages"]
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES}
    assert set(packages) - {"dreamer_lite._assets"} == rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), (
        f"{path} says nothing about itself"
    )


LINES, AGENT_LINES = 400, 250  # that a module has at most, and one of `agent/`


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_is_short(path: Path) -> None:
    limit = AGENT_LINES if path.parent.name == "agent" else LINES
    count = len(path.read_text(encoding="utf-8").splitlines())
    name = path.relative_to(ROOT)
    assert count <= limit, f"{name} has {count} lines, more than {limit}: say less, or divide it"


def module_name(path: Path) -> str:
    """`dreamer_lite/worlds/base.py` is `worlds.base`, `worlds/__init__.py` is `worlds`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES} - {""}


def imported(path: Path, functions: bool = True) -> Iterator[str]:
    """Modules of the package that a file imports, as `agent.rssm` or `worlds.base`."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if functions else tree.body:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *filter(None, [node.module])])
            # `from dreamer_lite.agent import rssm` names a module,
            # `from dreamer_lite.agent.rssm import State` a thing in one.
            below = [f"{origin}.{alias.name}" for alias in node.names]
            targets = [t if t.removeprefix("dreamer_lite.") in NAMES else origin for t in below]
        else:
            continue
        for target in targets:
            if target.startswith("dreamer_lite."):
                yield target.removeprefix("dreamer_lite.")


def test_imports_run_one_way() -> None:
    level = {room: n for n, rooms in enumerate(LEVELS) for room in rooms.split()}
    for path in MODULES:
        here = module_name(path).partition(".")[0]
        for target in imported(path) if here else ():
            there = target.partition(".")[0]
            assert there in level, f"give the room `{there}` a level: `{here}` imports it"
            if there != here:
                assert level[there] < level[here], f"{module_name(path)} imports {target}"


def test_modules_import_each_other_in_no_circle() -> None:
    """Imports within functions may come late on purpose, and are left out."""
    below = {}
    for path in MODULES:
        targets = imported(path, functions=False)
        below[module_name(path)] = {target for target in targets if target in NAMES}
    while free := [name for name, targets in below.items() if not targets - {name}]:
        below = {n: targets - set(free) for n, targets in below.items() if n not in free}
    assert not below, f"a circle of imports among {sorted(below)}"


def test_the_core_does_not_import_pictures_or_widgets() -> None:
    program = (
        "import sys, dreamer_lite.training.loop\n"
        "print(*sorted({'matplotlib', 'mediapy', 'ipywidgets'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def ci_show(folder: Path) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    return subprocess.run(
        ["bash", str(folder / ".ci" / "run"), "--show"],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def copy_of_ci(folder: Path, readme: str) -> Path:
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return folder


def test_ci_finds_the_commands_in_the_readme() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    result = ci_show(ROOT)
    assert result.returncode == 0, result.stderr
    test, demo = result.stdout.splitlines()
    assert test.split()[:2] == ["make", "test"]
    assert demo.split()[:2] == ["make", "demo"]


def test_ci_reads_only_fences_and_drops_prompts_and_comments(tmp_path: Path) -> None:
    readme = (
        "make test outside\n\n```bash\nmake tests\n$ make demo   # five minutes\n```\n"
        "make test between\n\n```\n  make test ARGS=-x   # ten minutes\nmake test again\n```\n"
    )
    result = ci_show(copy_of_ci(tmp_path, readme))
    assert result.stdout.splitlines() == ["make test ARGS=-x", "make demo"]


def test_ci_says_which_command_is_missing(tmp_path: Path) -> None:
    result = ci_show(copy_of_ci(tmp_path, "```\nmake test\n```\nmake demo\n"))
    assert result.returncode != 0
    assert 'no line starting with "make demo"' in result.stderr
