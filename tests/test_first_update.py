"""What a process compiles until its first update, and how: few programs, none by accident."""

import os
import re
from pathlib import Path

import pytest
import small_run

from dreamer_lite.training import xla

EXTRA = ["xla_cpu_disable_loop_unrolling", "xla_cpu_disable_tiled_emitter"]
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
    XLA writes down the flags it has: the command sets ours before JAX starts.
    """
    words = ["train", *flags, "--updates", "2", "--run", str(tmp_path / "run")]
    dump = f"--xla_dump_to={tmp_path / 'xla'} --xla_dump_hlo_module_re=begin"
    asked = f"{os.environ.get('XLA_FLAGS', '').replace(xla.FLAGS, '')} {dump}"
    environment = {"JAX_LOG_COMPILES": "1", "XLA_FLAGS": asked}
    process = small_run.start(["-m", "dreamer_lite", *words], **environment)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert re.findall(r"Finished XLA compilation of jit\((\w+)\)", errors) == programs
    (options,) = (tmp_path / "xla").glob("*.debug_options")
    assert re.findall(r'key: "(xla_cpu_disable_\w+)"', options.read_text(encoding="utf-8")) == EXTRA
