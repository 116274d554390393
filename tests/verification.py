"""Writes down what a run of the tests has proved: `pytest --verification FILE`.

An area is a file of tests. An area that ran whole replaces what FILE says about it, with the run it
belongs to: when, on which machine, with which versions, of which commit. An area of which only a
part ran never replaces a whole one; where there is none it is written down as a part: each test
that ran, how it ended, and in which run, together with those of earlier parts, until they are all
there are and it counts as whole. What no test of this project can prove is listed beside it.
"""

import ast
import datetime
import json
import os
import platform
import subprocess
import time
from collections import Counter, defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

PACKAGES = (
    "jax jaxlib flax optax orbax-checkpoint numpy gymnasium ale-py mujoco dm_control matplotlib "
    "imageio-ffmpeg ipywidgets ipykernel jupyterlab jupytext nbclient pytest"
).split()
ABOUT = (
    "What `make test-all` has proved, where, and with which versions. An area is renewed alone by "
    "`python -m pytest tests/AREA.py --verification assets/verification.json`."
)
NOT_PROVED = (
    "A real GPU: all tests run on the CPU; bfloat16 and float16 are compared with float32 there.",
    "A real Colab: its versions are rebuilt from its published list, `google.colab` is a stand-in.",
    "A real Google Drive: the mirror is written to a local folder.",
    "Several real devices: `--devices all` is tested on simulated ones.",
    "TPUs, Windows, macOS and browsers other than Chromium.",
    "Long training: no test trains for more than minutes; README and assets/README.md name the "
    "runs that their figures come from.",
)


RESULTS = ("passed", "failed", "skipped")
CHANGES = ("status", "--porcelain", "--untracked-files=no", "--", ".")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--verification",
        metavar="FILE",
        help="write down in FILE, a JSON object, which tests passed, where, with which versions",
    )


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("verification")
    if file and not hasattr(config, "workerinput"):
        place = config.rootpath / file
        config.pluginmanager.register(Recorder(config, place, read(place)))
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker())


def read(place: Path) -> dict[str, Any]:
    """What the file says so far. Raises UsageError if it is not ours."""
    if not place.exists():
        return {"areas": {}, "runs": {}}
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return {"areas": dict(found["areas"]), "runs": dict(found["runs"])}
    except (ValueError, KeyError, TypeError):
        raise pytest.UsageError(
            f"--verification {place.name}: this file is no record of a verification; name another."
        ) from None


def area_of(nodeid: str) -> str:
    """The name of the file: test_rssm of tests/test_rssm.py::test_x."""
    return Path(nodeid.partition("::")[0]).stem


class Worker:
    """In a process of pytest-xdist: tells the main one what was collected and left out."""

    def __init__(self) -> None:
        self.left_out: set[str] = set()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out |= {item.nodeid for item in items}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        seen = {"collected": [item.nodeid for item in session.items], "left": [*self.left_out]}
        session.config.workeroutput["verification"] = seen  # pyright: ignore


class Recorder:
    """Collects the reports of all processes and writes the file when they have ended."""

    def __init__(self, config: pytest.Config, place: Path, before: dict[str, Any]):
        self.config, self.place, self.before = config, place, before
        self.start, self.began = time.monotonic(), datetime.datetime.now(datetime.UTC)
        self.collected: set[str] = set()
        self.left_out: set[str] = set()
        self.outcome: dict[str, str] = {}
        self.why: dict[str, str] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.found: dict[str, dict[str, Any]] = defaultdict(dict)
        self.broken: set[str] = set()  # areas that could not be collected
        self.commit = git(config.rootpath, "rev-parse", "HEAD")
        self.changed = bool(git(config.rootpath, *CHANGES, f":(exclude,glob)**/{place.name}"))
        self.words = ""

    # What comes in

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out |= {item.nodeid for item in items}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)  # it is xdist's
    def pytest_testnodedown(self, node: Any) -> None:
        seen = getattr(node, "workeroutput", {}).get("verification")
        if seen:
            self.collected |= set(seen["collected"])
            self.left_out |= set(seen["left"])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.add(area_of(report.nodeid))
        elif report.skipped and report.nodeid.endswith(".py"):
            self.outcome[report.nodeid], self.why[report.nodeid] = "skipped", reason(report)
            self.collected.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid
        self.seconds[area_of(name)] += report.duration
        self.found[area_of(name)] |= dict(report.user_properties)
        rank = ("passed", "skipped", "failed")
        new = report.outcome if report.outcome in rank else "failed"
        if report.when == "call" or new != "passed":  # set up is not passed
            self.outcome[name] = max(self.outcome.get(name, "passed"), new, key=rank.index)
        if report.skipped:
            self.why[name] = reason(report)

    # What goes out

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        whole, part = self.judge()
        known = self.before["areas"]
        kept = {name for name in part if name in known and "only_these" not in known[name]}
        if not whole | part - kept:
            self.words = f"no area ran whole, {self.place.name} was not touched"
            return
        number = str(max(map(int, self.before["runs"]), default=0) + 1)
        areas = known | {name: self.area(name, number, True) for name in whole}
        areas |= {name: self.area(name, number, False) for name in part - kept}
        here = {file.stem for file in test_files(self.config)}
        areas = {name: areas[name] for name in sorted(areas) if name in here}
        runs = self.before["runs"] | {number: self.run()}
        used = {run for area in areas.values() for run in runs_of(area)}
        record = {
            "about": ABOUT,
            "totals": totals(areas),
            "not_proved": [*NOT_PROVED, *missing(areas, here)],
            "runs": {key: run for key, run in runs.items() if key in used},
            "areas": areas,
        }
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.place.write_text(
            json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        self.words = f"{len(whole | part - kept)} areas written to {self.place.name}"
        if part:
            self.words += f"; only parts ran of {', '.join(sorted(part))}"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.words:
            terminalreporter.write_line(f"verification: {self.words}")

    def judge(self) -> tuple[set[str], set[str]]:
        """Areas of which every test ran, and those of which some did."""
        missed = self.left_out | (self.collected - set(self.outcome))
        begun = {area_of(name) for name in self.outcome}
        part = begun & (self.not_all_seen() | {area_of(name) for name in missed})
        return begun - part, part

    def not_all_seen(self) -> set[str]:
        """Areas that hold tests of which pytest did not hear this time."""
        return {area_of(str(a)) for a in self.config.args if "::" in str(a)} | self.broken

    def area(self, name: str, run: str, whole: bool) -> dict[str, Any]:
        ended = {test: [o, run] for test, o in self.outcome.items() if area_of(test) == name}
        if not whole:
            ended = self.before["areas"].get(name, {}).get("only_these", {}) | ended
        tests = {word: sorted(t for t, (o, _) in ended.items() if o == word) for word in RESULTS}
        entry: dict[str, Any] = {"proves": about(self.config, name), "run": run}
        entry |= {word: len(found) for word, found in tests.items()}
        entry["seconds"] = round(self.seconds[name])
        if tests["failed"]:
            entry["failures"] = tests["failed"]
        if tests["skipped"]:
            reasons = [self.why.get(test, "see the run before") for test in tests["skipped"]]
            entry["reasons_of_skips"] = dict(Counter(reasons))
        if self.found[name]:
            entry["found"] = self.found[name]
        if not whole:
            known = {test for test in self.collected | self.left_out if area_of(test) == name}
            all_ended = name not in self.not_all_seen() and known <= set(ended)
            entry["in_parts" if all_ended else "only_these"] = dict(sorted(ended.items()))
        return entry

    def run(self) -> dict[str, Any]:
        return {
            "when": self.began.strftime("%Y-%m-%d %H:%M UTC"),
            "minutes": round((time.monotonic() - self.start) / 60, 1),
            "machine": machine(),
            "python": platform.python_version(),
            "versions": {name: found for name in PACKAGES if (found := installed(name))},
            "commit": self.commit,
            "uncommitted_changes": self.changed,
        }


def missing(areas: dict[str, Any], here: set[str]) -> list[str]:
    """A sentence for every area that has not run, or not whole."""
    none = [f"{name}: not run yet." for name in sorted(here - set(areas))]
    some = [name for name, area in areas.items() if "only_these" in area]
    return none + [f"{name}: only the tests that it names have run." for name in some]


def runs_of(area: dict[str, Any]) -> set[str]:
    parts = area.get("only_these", {}) | area.get("in_parts", {})
    return {area["run"], *(run for _, run in parts.values())}


def totals(areas: dict[str, Any]) -> dict[str, int]:
    return {word: sum(area[word] for area in areas.values()) for word in RESULTS}


def test_files(config: pytest.Config) -> list[Path]:
    folders = config.getini("testpaths") or ["."]
    return [file for folder in folders for file in (config.rootpath / folder).glob("test_*.py")]


def about(config: pytest.Config, area: str) -> str:
    """The first paragraph of the area's docstring."""
    for file in test_files(config):
        if file.stem == area:
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            return " ".join(text.partition("\n\n")[0].split())
    return ""


def reason(report: Any) -> str:
    """Why a test was skipped, without the place of the file."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def machine() -> dict[str, Any]:
    """What kind of machine this is; not which."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = f"{platform.system()} {platform.release()}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    found = {"system": system, "cpu": model or platform.machine(), "cores": os.cpu_count()}
    if hasattr(os, "sysconf"):
        found["memory_gib"] = round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        )
    return found


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def git(place: Path, *words: str) -> str:
    """What git prints; nothing where there is no repository."""
    try:
        result = subprocess.run(["git", "-C", place, *words], capture_output=True, text=True)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
