"""A run of Catch so small that it compiles fast, for the tests of files and commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.config import Config
from dreamer_lite.presets import make_config
from dreamer_lite.runs import checkpoints
from dreamer_lite.training.loop import Driver
from dreamer_lite.training.state import RunState

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = dict(
    deter=16,
    hidden=8,
    stoch=2,
    classes=4,
    blocks=2,
    units=8,
    batch=4,
    length=8,
    worlds=4,
    capacity=2000,
    updates_per_call=5,
    bins=15,
)
FLAGS = ["--world", "catch", *(w for n, v in SETTINGS.items() for w in ("--set", f"{n}={v}"))]


def config(**changes: Any) -> Config:
    return make_config("catch", **(SETTINGS | changes))


def cache() -> Path:
    """Where the tests keep compiled programs, see conftest."""
    return Path(jax.config.values["jax_compilation_cache_dir"])


def start(words: list[str], **environment: str) -> subprocess.Popen:
    """A Python process that shares the tests' compilation cache unless told otherwise."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache())} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run without what depends on the clock."""
    clock = {"seconds", "updates_per_second"}
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in clock} for x in lines]


def state_of(folder: Path, driver: Driver) -> RunState:
    """What the last checkpoint of a run holds."""
    return checkpoints.restore(folder / "state", driver.init(0))[0]


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf by name, keys as numbers."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        found[jax.tree_util.keystr(path)] = np.asarray(
            jax.random.key_data(leaf) if is_key else leaf
        )
    return found


def assert_same(left: Any, right: Any) -> None:
    """Both trees are equal bit for bit."""
    a, b = arrays(left), arrays(right)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
