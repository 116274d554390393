"""What a process compiles until its first update: few programs, and none of them by accident."""

import re
from pathlib import Path

import pytest
import small_run

CARTPOLE = [*small_run.FLAGS[2:], "--world", "gym/CartPole-v1"]


@pytest.mark.parametrize(
    ("flags", "programs"),
    [
        (small_run.FLAGS, ["begin_one", "advance"]),
        ([*small_run.FLAGS, "--seeds", "2"], ["begin_one", "step_all"]),
        (CARTPOLE, ["begin", "policy_step", "learn_often"]),
    ],
    ids=["in JAX", "two seeds", "on the host"],
)
def test_no_operation_is_compiled_alone(flags: list[str], programs: list[str], tmp_path: Path):
    """An operation outside `jax.jit` is a program of its own, which costs as much as ten fast ones.

    Two updates, so that what follows the first one is seen too: its record and its checkpoint.
    """
    words = ["train", *flags, "--updates", "2", "--run", str(tmp_path / "run")]
    process = small_run.start(["-m", "dreamer_lite", *words], JAX_LOG_COMPILES="1")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert re.findall(r"Finished XLA compilation of jit\((\w+)\)", errors) == programs
