"""Checkpoints and agent files: what comes back is what was saved, and damage is always noticed."""

import errno
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_run

from dreamer_lite import worlds
from dreamer_lite.config import to_dict
from dreamer_lite.runs import agents, checkpoints
from dreamer_lite.runs.errors import CheckpointError
from dreamer_lite.training.loop import make_driver
from dreamer_lite.training.state import RunState

CONFIG = small_run.config()
META = {"config": to_dict(CONFIG), "summary": {"updates": 7, "return_mean": 0.5}}


@pytest.fixture(scope="module")
def fresh() -> RunState:
    return make_driver(CONFIG, worlds.make("catch")).init(0)


@pytest.fixture(scope="module")
def state(fresh: RunState) -> RunState:
    """As if 10 rows had been lived: full of numbers where there may be some."""
    rng = np.random.default_rng(0)
    deter = np.array(fresh.replay.deter)
    deter[:10] = rng.normal(size=deter[:10].shape)
    replay = fresh.replay._replace(deter=jnp.array(deter), added=jnp.int32(10))
    return fresh._replace(replay=replay, steps=jnp.int32(10), updates=jnp.int32(7))


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file can grow beyond `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_round_trip(tmp_path: Path, state: RunState, fresh: RunState) -> None:
    checkpoints.save(tmp_path, state, META)
    again, meta = checkpoints.restore(tmp_path, fresh)
    small_run.assert_same(again, state)
    assert meta == META
    assert not any(getattr(x, "weak_type", False) for x in jax.tree.leaves(again))


def test_a_ring_that_is_full_comes_back_whole(tmp_path: Path, state: RunState) -> None:
    length = state.replay.deter.shape[0]
    full = state._replace(replay=state.replay._replace(added=jnp.int32(length + 3)))
    checkpoints.save(tmp_path, full, META)
    small_run.assert_same(checkpoints.restore(tmp_path, state)[0], full)


def test_empty_rows_take_no_room(tmp_path: Path, state: RunState) -> None:
    place = checkpoints.save(tmp_path, state, META)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    assert size < state.replay.deter.nbytes + 200_000  # mostly parameters and names


def test_two_stay_and_what_a_kill_left_is_ignored(tmp_path: Path, state: RunState) -> None:
    for updates in range(4):
        checkpoints.save(tmp_path, state._replace(updates=jnp.int32(updates)), META)
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "meta.json").write_text("{", encoding="utf-8")
    assert int(checkpoints.restore(tmp_path, state)[0].updates) == 3
    checkpoints.save(tmp_path, state, META)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004", "000005"]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def test_every_damaged_file_is_noticed(tmp_path: Path, state: RunState) -> None:
    place = checkpoints.save(tmp_path / "state", state, META)
    files = sorted(file for file in place.rglob("*") if file.is_file())
    assert len(files) > 10
    for file in files:
        good = file.read_bytes()
        for damage in (flip, cut, Path.unlink) if good else (Path.unlink,):
            damage(file)
            with pytest.raises(CheckpointError) as error:
                checkpoints.read_meta(tmp_path / "state")
            assert str(place) in str(error.value), file
            file.write_bytes(good)
    (place / "meta.json").unlink()
    with pytest.raises(CheckpointError, match=f"move the folder {place} elsewhere to train anew"):
        checkpoints.restore(tmp_path / "state", state)


LEFT_BY_OTHERS = [
    ".DS_Store", "._agent", "Thumbs.db", "desktop.ini", "Icon\r", "meta.json~", ".nfs0001",
    ".~lock.meta.json#", ".ipynb_checkpoints/meta-checkpoint.json", "meta (1).json",
]  # fmt: skip


def test_what_others_leave_in_a_checkpoint_is_no_damage(
    tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of its folders, also if it was there before the checksums were made, and is gone."""

    def leave(folder: Path, names: list[str]) -> None:
        for inner in (folder, *[p for p in folder.rglob("*") if p.is_dir()]):
            for name in names:
                (inner / name).parent.mkdir(exist_ok=True)
                (inner / name).write_bytes(b"\0" * 9)

    sums = checkpoints._checksums

    def while_saving(folder: Path) -> dict[str, str]:
        leave(folder, LEFT_BY_OTHERS[:-1])
        found = sums(folder)
        for file in list(folder.rglob(".DS_Store")):
            file.unlink()
        return found

    monkeypatch.setattr(checkpoints, "_checksums", while_saving)
    place = checkpoints.save(tmp_path / "state", state, META)
    leave(tmp_path, LEFT_BY_OTHERS)
    again, meta = checkpoints.restore(tmp_path / "state", state)
    small_run.assert_same(again, state)
    assert meta == META and set(
        json.loads((place / "manifest.json").read_text(encoding="utf-8"))["files"]
    ) == {
        file.relative_to(place).as_posix()
        for file in place.rglob("*")
        if file.is_file() and file.name not in LEFT_BY_OTHERS and ".ipynb" not in str(file)
    } - {"manifest.json"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOTCONN])
def test_a_file_that_cannot_be_read_is_not_called_damaged(
    number: int, tmp_path: Path, state: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkpoints.save(tmp_path / "state", state, META)

    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for owner, name, file in (
        (hashlib, "file_digest", place / "agent"),
        (checkpoints.files, "open_regular", place / "manifest.json"),
        (Path, "iterdir", tmp_path / "state"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            with pytest.raises(CheckpointError) as error:
                checkpoints.read_meta(tmp_path / "state")
        said = str(error.value)
        assert f"Cannot read {file}" in said
        assert f"({os.strerror(number)}): it may be intact" in said
        assert "damaged" not in said and "move" not in said


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["params", "opt", "slow", "latents", "reward"])
def test_what_is_not_finite_is_not_saved(
    part: str, bad: float, tmp_path: Path, state: RunState
) -> None:
    def spoil(tree):
        leaves, shape = jax.tree.flatten(tree)
        index = next(i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating))
        leaves[index] = leaves[index].at[(0,) * leaves[index].ndim].set(bad)
        return shape.unflatten(leaves)

    if part in ("latents", "reward"):
        replay = state.replay
        rows = replay.timesteps._replace(reward=spoil(replay.timesteps.reward))
        new = {"timesteps": rows} if part == "reward" else {"deter": spoil(replay.deter)}
        spoilt = state._replace(replay=replay._replace(**new))
    else:
        (field,) = (name for name in state.learner._fields if name.startswith(part))
        learner = state.learner._replace(**{field: spoil(getattr(state.learner, field))})
        spoilt = state._replace(learner=learner)
    with pytest.raises(FloatingPointError, match=r"A number in .* was not finite at update 7"):
        checkpoints.save(tmp_path, spoilt, META)
    assert not any(tmp_path.iterdir())


def test_damage_names_the_earlier_one(tmp_path: Path, state: RunState) -> None:
    checkpoints.save(tmp_path, state, META)
    place = checkpoints.save(tmp_path, state, META)
    cut(place / "meta.json")
    with pytest.raises(
        CheckpointError, match=r"move the folder .*000002 elsewhere to go on .* 000001"
    ):
        checkpoints.restore(tmp_path, state)


def test_newer_foreign_and_missing_are_refused(tmp_path: Path, state: RunState) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.restore(tmp_path, state)
    place = checkpoints.save(tmp_path, state, META)
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    (place / "manifest.json").write_text(json.dumps(manifest | {"format": 2}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"format 2, .* reads format 1: use the version"):
        checkpoints.restore(tmp_path, state)
    (tmp_path / "000007").mkdir()
    (tmp_path / "000007" / "stranger").write_text("hello", encoding="utf-8")
    with pytest.raises(CheckpointError, match="000007 is damaged or incomplete"):
        checkpoints.restore(tmp_path, state)


def test_a_state_of_other_shapes_is_refused(tmp_path: Path, state: RunState) -> None:
    other = make_driver(small_run.config(units=4), worlds.make("catch")).init(0)
    checkpoints.save(tmp_path, other, META)
    with pytest.raises(CheckpointError, match=r"does not fit this program .*use the version"):
        checkpoints.restore(tmp_path, state)
    less = dict(state.learner.params, critic={})
    checkpoints.save(tmp_path, state._replace(learner=state.learner._replace(params=less)), META)
    with pytest.raises(CheckpointError, match="does not fit this program"):
        checkpoints.restore(tmp_path, state)


def test_a_full_disk_leaves_the_earlier_one(tmp_path: Path, state: RunState) -> None:
    checkpoints.save(tmp_path, state, META)
    with full_disk(5000), pytest.raises(OSError, match="earlier checkpoints are intact"):
        checkpoints.save(tmp_path, state._replace(updates=jnp.int32(9)), META)
    assert [path.name for path in tmp_path.iterdir()] == ["000001"]
    small_run.assert_same(checkpoints.restore(tmp_path, state)[0], state)


# Agents to pass on


@pytest.fixture
def agent(tmp_path: Path, state: RunState) -> Path:
    path = tmp_path / "agents" / "catch.safetensors"
    agents.save_agent(path, state.learner.params, CONFIG, {"return_mean": 0.5})
    return path


def test_agent_round_trip(agent: Path, state: RunState) -> None:
    config, params, info = agents.load_agent(agent)
    assert config == CONFIG
    assert info == {"format": 1, "world": "catch", "return_mean": 0.5}
    small_run.assert_same(params, state.learner.params)
    assert sorted(path.name for path in agent.parent.iterdir()) == [
        "catch.json",
        "catch.safetensors",
    ]


def test_agent_of_a_run(tmp_path: Path, state: RunState) -> None:
    checkpoints.save(tmp_path, state, META)
    config, params, info = agents.newest_agent(tmp_path)
    assert (config, info) == (CONFIG, META["summary"])
    small_run.assert_same(params, state.learner.params)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_agent_is_refused(agent: Path, suffix: str, damage) -> None:
    damage(agent.with_suffix(suffix))
    with pytest.raises(CheckpointError, match=r"^(Agent|Cannot read) .*catch.*\.$"):
        agents.load_agent(agent)


def test_an_agent_with_another_description_is_refused(agent: Path, state: RunState) -> None:
    other = agent.with_name("other.safetensors")
    agents.save_agent(other, state.learner.params, small_run.config(units=4), {})
    with pytest.raises(CheckpointError, match="does not fit this program"):
        agents.load_agent(other)  # written whole, but it contradicts itself
    agents.save_agent(other, jax.tree.map(lambda x: 2 * x, state.learner.params), CONFIG, {})
    agent.with_suffix(".json").write_text(
        other.with_suffix(".json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match="is damaged, or no agent"):
        agents.load_agent(agent)


def test_a_newer_agent_is_refused(agent: Path) -> None:
    about = json.loads(agent.with_suffix(".json").read_text(encoding="utf-8"))
    agent.with_suffix(".json").write_text(json.dumps(about | {"format": 2}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="format 2"):
        agents.load_agent(agent)
