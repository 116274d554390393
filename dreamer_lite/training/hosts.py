"""One run in several processes, by `jax.distributed`: on several machines, or beside each other.

Every process runs the same program on its own devices, and what they compute together is one
global array. Therefore all of them must take the same decisions at the same time: what depends on
the clock, on signals or on files is decided by the first process (`agree`, `first_does`) or by any
(`any_of`). With one process all of this does nothing.
"""

import contextlib
import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead
PATIENCE = 120  # seconds that processes wait for each other at the start
DIED = (
    "Another process of this run has ended, or cannot be reached: this one stops too. The last "
    "checkpoint is good; the same command, typed for every process, goes on."
)
PAGE = 4096  # bytes
Result = TypeVar("Result")


class HostError(RuntimeError):
    """The processes of a run have lost each other; one sentence."""


def connect(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Join the other processes of this run; call it before JAX is used. Whether there are others.

    Without a coordinator, the processes are those of Slurm's job step, if there are several.

    Raises:
      ValueError: one of three is missing or malformed; one sentence.
      HostError: the processes did not find each other.
    """
    where: dict[str, Any] = {}
    if (coordinator, processes, process) != (None, None, None):
        where = check(coordinator, processes, process)
    elif (where := of_slurm()) == {}:
        return False
    # Between CPUs; other devices have their own ways.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **where, initialization_timeout=PATIENCE, heartbeat_timeout_seconds=HEARTBEAT
        )
    except Exception as error:  # RuntimeError, or an error of the library below
        raise HostError(
            f"The processes of this run did not find each other in {PATIENCE} s "
            f"({str(error).splitlines()[0][:200]}): start all of them, with the same coordinator."
        ) from error
    return jax.process_count() > 1


def check(coordinator: str | None, processes: int | None, process: int | None) -> dict[str, Any]:
    """Arguments for `jax.distributed.initialize`. Raises ValueError."""
    if coordinator is None or processes is None or process is None:
        raise ValueError(
            "--coordinator, --processes and --process go together: the address HOST:PORT of the "
            "first process, how many there are, and the number of this one, from 0."
        )
    if not re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", coordinator):
        raise ValueError(f"--coordinator {coordinator} is not of the form HOST:PORT.")
    if process >= processes:
        raise ValueError(f"--process is {process}: of {processes} processes, 0 is the first.")
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def of_slurm() -> dict[str, Any]:
    """The same for a job step of several tasks, {} elsewhere.

    JAX reads the rest from Slurm's variables. It would take one GPU for each task; where a node has
    one task, that one takes all.
    """
    found = [os.environ.get(f"SLURM_{n}") for n in ("STEP_NUM_TASKS", "STEP_NUM_NODES", "PROCID")]
    tasks, nodes, number = (int(x) if x and x.isdigit() else None for x in found)
    if tasks is None or nodes is None or number is None or tasks < 2:
        return {}
    where: dict[str, Any] = {"cluster_detection_method": "slurm"}
    if tasks == nodes and (gpus := visible_gpus()):
        where["local_device_ids"] = list(range(len(gpus)))
    return where


def visible_gpus() -> list[str]:
    """NVIDIA's GPUs of this node that the process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip()]
    found = (re.fullmatch(r"/dev/nvidia(\d+)", path) for path in glob.glob("/dev/nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def asked_for() -> bool:
    """Whether `connect` has joined others. Unlike `several` it does not start JAX's devices."""
    return jax.distributed.is_initialized()


def several() -> bool:
    """Whether this run has several processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return jax.process_index() == 0


def agree(value: float) -> float:
    """The first process's value, on all of them."""
    if not several():
        return value
    # As bytes, because JAX would round a clock to 32 bits.
    return float(np.frombuffer(_send(np.float64(value).tobytes(), 8), np.float64)[0])


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    if not several():
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag, np.int32))))


def first_does(work: Callable[[], Result]) -> Result:
    """work() on the first process; all get its result, plain JSON, or the error that it raised.

    Raises:
      ValueError or OSError: what `work` raised; on the other processes with the same sentence.
    """
    if not several():
        return work()
    result, error = None, None
    if is_first():
        try:
            result = work()
        except (ValueError, OSError) as caught:
            error = caught
    kind = None if error is None else ("os" if isinstance(error, OSError) else "value")
    text = json.dumps([kind, str(error), result]).encode()
    size = -(-int(agree(len(text))) // PAGE) * PAGE  # few sizes, because each is compiled
    kind, sentence, result = json.loads(_send(text, size))
    if error is not None:
        raise error
    if kind is not None:
        raise (OSError if kind == "os" else ValueError)(sentence)
    return result


def share(load: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that the first process loads, on all. Raises as `first_does`."""
    held: dict[str, np.ndarray] = {}

    def describe() -> list[list[Any]]:
        held.update(load())
        return [[name, x.shape, str(x.dtype)] for name, x in held.items()]

    about = first_does(describe)
    # Every array by itself, so that memory holds one of them twice and not all.
    for name, shape, kind in about:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        content = np.asarray(held[name], order="C").tobytes() if is_first() else b""
        held[name] = (
            np.frombuffer(_send(content, size), kind).reshape(shape)
            if size
            else held.get(name, np.zeros(shape, kind))
        )
    return held


def _send(content: bytes, size: int) -> bytes:
    """The first process's bytes, `size` of them, on all."""
    from jax.experimental import multihost_utils

    padded = np.full(size, ord(" "), np.uint8)
    if is_first():
        padded[: len(content)] = np.frombuffer(content, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def whole(tree: Any) -> Any:
    """A tree of global arrays with all of every array on every host; as it is with one process.

    Every process must call it.
    """
    if not several():
        return tree
    from jax.experimental import multihost_utils

    def gather(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(gather, tree)


def place(array: np.ndarray, like: jax.Array) -> jax.Array:
    """An array that all hosts have whole, spread over the devices as `like`."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        numbers = jax.random.key_data(like)
        return jax.random.wrap_key_data(place(array, numbers))
    return jax.make_array_from_callback(
        array.shape, like.sharding, lambda index: jnp.array(array[index])
    )


@contextlib.contextmanager
def noticing_deaths() -> Iterator[None]:
    """Inside, the errors of JAX's communication become a HostError if there are other processes."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not several():
            raise
        raise HostError(DIED) from error
