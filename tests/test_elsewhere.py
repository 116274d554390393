"""What Windows lacks is not needed: the modules of POSIX, and UTF-8 as the usual encoding."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import small_run

from dreamer_lite.tools import bench

ROOT = Path(__file__).resolve().parents[1]

# Run before the package is imported, in a process with stdout and stderr in code page 1252.
AS_ON_WINDOWS = r"""
import asyncio, os, shutil, signal, sys, time, warnings  # asyncio is another one there
shutil._use_fd_functions = False  # as it finds out there
os.process_cpu_count = os.cpu_count
for name in ("fcntl", "resource", "termios", "pwd"):
    sys.modules[name] = None
for module, names in {
    os: "register_at_fork fork sched_getaffinity sysconf O_NONBLOCK O_DIRECTORY O_NOFOLLOW",
    signal: "SIGHUP SIGUSR1 SIGALRM",
    time: "clock_gettime CLOCK_BOOTTIME",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
warnings.filterwarnings("ignore", category=EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="dreamer_lite|build|lint")
"""
COMMANDS = """
from dreamer_lite.__main__ import main
for line in sys.stdin.read().splitlines():
    status = main(line.split())
    if status:
        print(line, status)
from dreamer_lite import notices
from dreamer_lite.course import checks, compare, curves, planner, widgets
from dreamer_lite.tools import bench, doctor
bench.peak_memory()
notices.print_anything()
print("✓ and ± are printed")
"""


def as_on_windows(program: str, folder: Path, lines: str = "") -> subprocess.CompletedProcess:
    words = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "cp1252",
        "PYTHONWARNDEFAULTENCODING": "1",
        "JAX_COMPILATION_CACHE_DIR": str(small_run.cache()),
    }
    return subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS + program],
        cwd=folder, env=words, input=lines.encode(), capture_output=True,
    )  # fmt: skip


def test_commands_work_without_posix_and_in_code_page_1252(tmp_path: Path) -> None:
    train = " ".join(["train", *small_run.FLAGS, "--updates 20 --run run --mirror copy"])
    lines = [
        "worlds",
        "doctor --json",
        train,
        train.replace("--updates 20", "--updates 30"),
        "evaluate --agent run --episodes 2",
        "export --agent run --out agent.safetensors",
        "evaluate --agent agent.safetensors --episodes 2",
        "record --agent run --out play.gif",
        "dream --agent run --out dream.gif",
        "plot --run run --out curves.csv",
        "evaluate --agent nobody",
    ]
    result = as_on_windows(COMMANDS, tmp_path, "\n".join(lines))
    out, err = result.stdout.decode("cp1252"), result.stderr.decode("cp1252")
    assert result.returncode == 0, err
    told = out.splitlines()
    assert told[-1] == "[ok] and ± are printed"
    failed = [line for line in told if line.startswith(tuple(lines))]
    assert [line for line in failed if "doctor" not in line] == ["evaluate --agent nobody 2"], err
    assert "Traceback" not in err and "Warning" not in err


def test_notebooks_are_built_and_checked_there_too(tmp_path: Path) -> None:
    program = "sys.path.insert(0, 'notebooks'); import build; sys.exit(build.main(['check', '00']))"
    result = as_on_windows(program, ROOT)
    assert result.returncode == 0 and result.stderr == b"", result.stderr.decode("cp1252")


def test_bench_does_without_the_memory_that_nobody_measures(monkeypatch) -> None:
    monkeypatch.setattr(bench, "resource", None)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert bench.peak_memory() is None


def test_text_files_are_opened_as_utf_8() -> None:
    """`read_text()`, `write_text(x)` and `open(x)` would take code page 1252 on Windows."""
    found = []
    for pattern in ("dreamer_lite/**/*.py", "notebooks/*.py", "tests/*.py"):
        for file in ROOT.glob(pattern):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found += [f"{file.name}:{node.lineno}" for node in calls if not says_how(node)]
    assert found == []


def says_how(call: ast.Call) -> bool:
    """Whether a call opens no text file, or names its encoding."""
    name = ast.unparse(call.func).rpartition(".")[2]
    others = ("Image.", "os.open", "zipfile.", "tarfile.", "opener.")
    if name not in ("read_text", "write_text", "open", "fdopen") or ast.unparse(
        call.func
    ).startswith(others):
        return True
    parts = [part for a in call.args for part in ast.walk(a) if isinstance(part, ast.Constant)]
    words = [part.value for part in parts if isinstance(part.value, str)]
    binary = any("b" in word and len(word) <= 3 for word in words)
    return binary or "utf-8" in words or any(word.arg == "encoding" for word in call.keywords)
