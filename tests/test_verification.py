"""The record of what was proved: whole areas only, reasons for skips, no name of the machine."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).resolve().parent
GOOD = '''"""Good things.

More about them."""
import os
import pytest

def test_one(record_property):
    record_property("stack", "jax 1")

@pytest.mark.parametrize("x", [1, 2])
def test_many(x):
    pass
'''
BAD = '''"""Bad things."""
import pytest

def test_fails():
    assert False

def test_skips():
    pytest.skip("there is no chromium here")

@pytest.fixture
def breaks():
    yield
    raise OSError("in the end")

def test_breaks_afterwards(breaks):
    pass
'''


@pytest.fixture
def project(pytester, monkeypatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # for other processes
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    folder = pytester.mkdir("tests")
    (folder / "test_good.py").write_text(GOOD, encoding="utf-8")
    (folder / "test_bad.py").write_text(BAD, encoding="utf-8")
    return pytester


def verify(project: pytest.Pytester, *words: str) -> tuple[str, Any]:
    """Run pytest there; (what it prints, the record it leaves)."""
    run = project.runpytest_subprocess if "-n" in words else project.runpytest_inprocess
    result = run("-p", "verification", *words)
    file = project.path / "assets" / "record.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return f"{result.stdout}\n{result.stderr}", found


BAD_TESTS = "tests/test_bad.py::test_"
WRITE = ("--verification", "assets/record.json")


@pytest.mark.parametrize("spread", [(), ("-n", "2")], ids=["alone", "spread"])
def test_every_area_is_counted(project, spread):
    said, record = verify(project, *WRITE, *spread)
    assert "verification: 2 areas written to record.json" in said
    good, bad = record["areas"]["test_good"], record["areas"]["test_bad"]
    assert (good["passed"], good["failed"], good["skipped"]) == (3, 0, 0)
    assert good["proves"] == "Good things." and good["found"] == {"stack": "jax 1"}
    assert (bad["passed"], bad["failed"], bad["skipped"]) == (0, 2, 1)
    assert bad["failures"] == [f"{BAD_TESTS}breaks_afterwards", f"{BAD_TESTS}fails"]
    assert bad["reasons_of_skips"] == {"there is no chromium here": 1}
    assert record["totals"] == {"passed": 3, "failed": 2, "skipped": 1}


def test_it_says_where_with_what_and_not_on_whose_machine(project):
    said, record = verify(project, *WRITE)
    (run,) = record["runs"].values()
    assert run["machine"]["cores"] == os.cpu_count() and run["machine"]["memory_gib"] > 0
    assert run["versions"]["pytest"] == pytest.__version__ and run["when"].endswith("UTC")
    assert any("A real GPU" in line for line in record["not_proved"])
    assert any("A real Colab" in line for line in record["not_proved"])
    for word in (platform.node(), str(project.path), str(Path.home())):
        assert word not in json.dumps(record)


def test_without_the_option_nothing_is_written(project):
    said, record = verify(project)
    assert record == {} and "verification:" not in said


@pytest.mark.parametrize(
    "choice",
    [("-k", "one"), ("tests/test_good.py::test_one",), ("-k", "one or fails", "-n", "2")],
    ids=["some", "named", "spread"],
)
def test_a_part_leaves_the_whole_as_it_stands(project, choice):
    _, before = verify(project, *WRITE)
    said, after = verify(project, *WRITE, *choice)
    assert after == before and "no area ran whole, record.json was not touched" in said


def test_an_area_that_ran_whole_is_renewed_alone(project):
    _, before = verify(project, *WRITE)
    (project.path / "tests" / "test_bad.py").write_text(
        BAD.replace("assert False", "pass"), encoding="utf-8"
    )
    said, after = verify(project, *WRITE, "tests/test_bad.py")
    assert after["areas"]["test_bad"]["failures"] == [f"{BAD_TESTS}breaks_afterwards"]
    assert after["areas"]["test_bad"]["run"] == "2" and set(after["runs"]) == {"1", "2"}
    assert after["areas"]["test_good"] == before["areas"]["test_good"]
    assert after["runs"]["1"] == before["runs"]["1"]


def test_one_that_was_cut_short_is_a_part(project):
    verify(project, *WRITE, "-x")
    said, record = verify(project, *WRITE, "-k", "one or many or fails")
    assert "2 areas written" in said and "only parts ran of test_bad" in said
    assert "only_these" not in record["areas"]["test_good"]
    assert record["areas"]["test_bad"]["only_these"] == {f"{BAD_TESTS}fails": ["failed", "2"]}
    assert "test_bad: only the tests that it names have run." in record["not_proved"]
    _, record = verify(project, *WRITE, "-k", "skips")
    part = record["areas"]["test_bad"]
    assert (part["failed"], part["skipped"], set(record["runs"])) == (1, 1, {"2", "3"})
    _, record = verify(project, *WRITE)
    assert "only_these" not in record["areas"]["test_bad"]


@pytest.mark.parametrize("spread", [(), ("-n", "2")], ids=["alone", "spread"])
def test_parts_that_are_all_there_are_make_a_whole(project, spread):
    verify(project, *WRITE, "-k", "one")
    _, record = verify(project, *WRITE, *spread, "tests/test_good.py", "-k", "not one")
    good = record["areas"]["test_good"]
    assert "only_these" not in good and good["in_parts"]["tests/test_good.py::test_one"][1] == "1"
    assert good["passed"] == len(good["in_parts"]) and set(record["runs"]) == {"1", "2"}
    assert not [line for line in record["not_proved"] if line.startswith("test_good")]


def test_named_ones_are_not_known_to_be_all(project):
    _, record = verify(project, *WRITE, "tests/test_good.py::test_one")
    assert "in_parts" not in record["areas"]["test_good"]


def test_one_that_was_interrupted_has_not_passed(project):
    stopped = "def test_many(x):\n    if x == 2:\n        raise KeyboardInterrupt"
    text = GOOD.replace("def test_many(x):\n    pass", stopped)
    (project.path / "tests" / "test_good.py").write_text(text, encoding="utf-8")
    _, record = verify(project, *WRITE, "-n", "0", "tests/test_good.py")
    assert set(record["areas"]["test_good"]["only_these"]) == {
        "tests/test_good.py::test_one",
        "tests/test_good.py::test_many[1]",
    }


def test_what_has_never_run_is_named(project):
    _, record = verify(project, *WRITE, "tests/test_good.py")
    assert "test_bad: not run yet." in record["not_proved"]


def test_one_that_cannot_be_collected_is_none(project):
    (project.path / "tests" / "test_bad.py").write_text(
        "import nothing_of_that_name\n", encoding="utf-8"
    )
    _, record = verify(project, *WRITE, "--continue-on-collection-errors")
    assert set(record["areas"]) == {"test_good"}


def test_a_file_of_somebody_elses_is_not_overwritten(project):
    file = project.path / "assets" / "record.json"
    file.parent.mkdir()
    file.write_text("[1, 2]", encoding="utf-8")
    said, record = verify(project, *WRITE)
    assert "record.json: this file is no record of a verification; name another" in said
    assert record == [1, 2]


def test_the_projects_own_record_is_one():
    record = json.loads((HERE.parent / "assets" / "verification.json").read_text(encoding="utf-8"))
    assert record["areas"] and record["not_proved"]
    assert {area["run"] for area in record["areas"].values()} <= set(record["runs"])
