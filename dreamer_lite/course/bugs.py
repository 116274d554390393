"""Planted bugs: the agent with one part that is wrong, for the debugging exercises.

    bug = bugs.of_case(bugs.WORLD_MODEL, 2)          # which one, the reader is to find out
    broken = parts.load(force=bugs.plant(bug))       # a module whose other parts are as before

A bug is a small change to the course's text of one part. tests/test_bugs.py shows of each that the
evidence which the notebook gives is different from that of a healthy model.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from dreamer_lite.course import parts


class Bug(NamedTuple):
    """One change to a part of the agent."""

    name: str  # what is wrong, in a few words: an option that the reader may choose
    part: str  # where
    right: str  # text of the course's solution, which occurs there once
    wrong: str  # what stands there instead
    tell: str  # where it shows, and why; Markdown


# Notebook 05, in an order that says nothing.
WORLD_MODEL = (
    Bug(
        "own action instead of the previous one",
        "cut",
        "replay.action[place[:-1], world]",
        "replay.action[place[1:], world]",
        "**Each observation came with its own action**, the one that was chosen *after* it: `cut` "
        "read `place[1:]` where `place[:-1]` is right. Losses and gradient map look healthy, "
        "because the model meets the action one step early, keeps it in h, and predicts well from "
        "there. But in the open loop it receives the action *before* each step, and then moves the "
        "paddle one step late: at step 1 it errs about as much as with another player's actions. "
        "A loss on data that have the same mistake cannot show it.",
    ),
    Bug(
        "prior and posterior swapped in the KL",
        "kl_losses",
        "def kl_losses(post: jax.Array, prior: jax.Array,",
        "def kl_losses(prior: jax.Array, post: jax.Array,",
        "**The two arguments of the KL were exchanged.** The gradient map shows it: `dyn` now "
        "reaches encoder and posterior and leaves the prior alone, and `rep` trains the prior, "
        "with its small weight of 0.1. So mainly the posterior moves: it follows the prior, and the "
        "state loses what the frame had to say. The reconstruction loss falls more slowly.",
    ),
    Bug(
        "a stop-gradient missing in the KL",
        "kl_losses",
        "sg(post), prior",
        "post, prior",
        "**`dyn` was computed from the posterior itself instead of `sg(post)`.** The gradient map "
        "shows it: where every time step is on its own, `dyn` reaches encoder and posterior, where "
        "a healthy model has an exact zero. With weight 1.0 instead of 0.1 the posterior is "
        "pulled towards the prior: `dyn` is lower, and the reconstruction is worse.",
    ),
)


def of_case(bugs: Sequence[Bug], case: int) -> Bug:
    """Bug number `case`, counted from 1. Raises ValueError for a number that does not exist."""
    if case not in range(1, len(bugs) + 1):
        raise ValueError(f"case is {case}: it must be one of 1 to {len(bugs)}.")
    return bugs[case - 1]


def plant(bug: Bug) -> dict[str, str]:
    """{part: its wrong text}, for `parts.load(force=...)` or `parts.assemble`.

    Raises:
      ValueError: the course's solution does not have the text that the bug changes.
    """
    (text,) = (chunk.text for chunk in parts.solution() if chunk.name == bug.part)
    if text.count(bug.right) != 1:
        raise ValueError(f"{bug.part} has {bug.right!r} {text.count(bug.right)} times, not once.")
    return {bug.part: textwrap.dedent(text).replace(bug.right, bug.wrong)}
