"""Planted bugs: the agent with one part that is wrong, for the debugging exercises.

    bug = bugs.of_case(bugs.WORLD_MODEL, 2)          # which one, the reader is to find out
    broken = parts.load(force=bugs.plant(bug))       # a module whose other parts are as before

A bug is a small change to the course's text of one part. The tests show of each that the evidence
which the notebook gives is different from that of a healthy model: test_rssm_course.py for 04,
test_world_models.py for 05, test_stories.py for 08.
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


# Notebook 04, in an order that says nothing.
RSSM = (
    Bug(
        "the reset comes one step late",
        "RSSM.observe",
        "(embed, action, is_first, u)",
        "(embed, action, jnp.roll(is_first, 1, 0), u)",
        "**`observe` passed on the flag of the time step before.** The perturbation map of the "
        "embeddings shows it: a change before the reset still changes the state *at* the reset. "
        "The KL of each time step shows it too: at the second step of an episode the state has "
        "just been set to zero, so the prior does not know where ball and paddle were, and the "
        "observation is a surprise of about 2 nats or more, where a healthy prior is nearly sure.",
    ),
    Bug(
        "the action is lost while imagining",
        "RSSM.imagine_step",
        "self.core(state, action)",
        "self.core(state, jnp.zeros_like(action))",
        "**`imagine_step` passed zeros to the GRU core instead of the action.** "
        "Training never calls `imagine_step`, so losses, KL and perturbation maps are those of a "
        "healthy model. Only the open loop shows the bug: from the first imagined frame on, the "
        "paddle does not follow the actions, although the model has learned what they do.",
    ),
    Bug(
        "each step receives its own action instead of the previous one",
        "RSSM.observe",
        "(embed, action, is_first, u)",
        "(embed, jnp.roll(action, -1, 0), is_first, u)",
        "**`observe` gave step t the action that is chosen after observation t.** The perturbation "
        "map of the actions shows it: an action changes the state one step *before* it can have an "
        "effect. The losses look healthy, because the model meets each action one step early, and "
        "h carries it to where it is needed. In the open loop the actions come at the right time, "
        "which is too late for this model: the imagined paddle lags one step behind.",
    ),
)

# Notebook 05, in an order that says nothing.
WORLD_MODEL = (
    Bug(
        "own action instead of the previous one",
        "cut",
        "replay.action[place[:-1], world]",
        "replay.action[place[1:], world]",
        "**Each observation came with its own action**, the one that was chosen *after* it: `cut` "
        "read `place[1:]` where `place[:-1]` is right. The gradient map is healthy, and the curves "
        "are those of a model that learns somewhat later: it meets each action one step early, "
        "keeps it in h, and predicts well from there. But in the open loop it receives the action "
        "*before* each step, and then moves the paddle one step late: at step 1 it errs about as "
        "much as with another's actions. "
        "A loss on data that have the same mistake cannot show it.",
    ),
    Bug(
        "prior and posterior swapped in the KL",
        "kl_losses",
        "def kl_losses(post: jax.Array, prior: jax.Array,",
        "def kl_losses(prior: jax.Array, post: jax.Array,",
        "**The two arguments of the KL were exchanged.** The gradient map shows it: `dyn` now "
        "reaches encoder and posterior and leaves the prior alone; `rep` trains the prior, with "
        "its small weight of 0.1. So mainly the posterior moves: it follows the prior, and the "
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


# Notebook 08, in an order that says nothing. They are shown on Catch, see `stories`.
LOOP = (
    Bug(
        "the reward of the state itself instead of the next one",
        "lambda_returns",
        "inputs = jax.tree.map(lambda x: x[1:], (reward, cont, value, lam))",
        "inputs = reward[:-1], cont[1:], value[1:], lam[1:]",
        "**The returns took the reward of the state itself.** In Catch the reward comes with the "
        "terminal state, and nothing is counted across a terminal state, so no action was ever "
        "credited with a catch. The *imagined return* shows it, beside the *imagined rewards*: the "
        "reward head predicts about 0.1 per rollout, as much as is really earned, and the "
        "λ-return of the same rollouts goes to 0. The world model is healthy: its losses are those "
        "of the other agent. The return stays that of random play.",
    ),
    Bug(
        "no stop-gradient through the advantage",
        "dream_losses",
        "weight * actor_loss(policy, actions, advantage, c.entropy)",
        "weight * -(policy.log_prob(actions) * (returns - two_hot_mean(logits)[:-1])"
        " / jnp.maximum(1.0, new_range[1] - new_range[0]) + c.entropy * policy.entropy())",
        "**The gradient of the policy loss reached the critic.** The loss falls when the advantage "
        "of an unlikely action falls, so the critic learned to predict more. *Critic - imagined "
        "return* shows it: about 10⁸ instead of 0. A little probability in the outermost two-hot "
        "bin, 4.9·10⁸, is enough for that, and hardly costs anything in the critic's own loss. "
        "The advantage then says nothing about actions, and the return stays that of random play.",
    ),
    Bug(
        "the reset mask comes one step late",
        "RSSM.observe",
        "(embed, action, is_first, u)",
        "(embed, action, jnp.roll(is_first, 1, 0), u)",
        "**`observe` passed on the flag of the time step before.** The *KL at the second time "
        "step* of an episode shows it: the state is set to zero there, one step too late, so the "
        "prior knows nothing of ball and paddle, and the observation is a surprise of 7 nats "
        "where a healthy model has less than 1. The return **still rises**, a little later, and "
        "the mean of dyn over all time steps is only somewhat higher. From these two alone "
        "nobody would have looked for a bug.",
    ),
)


# Not a bug to find: what a gradient map looks like without any stop-gradient in the KL.
NO_STOPS = Bug(
    "no stop-gradient in the KL",
    "kl_losses",
    "return kl(sg(post), prior), kl(post, sg(prior))",
    "return kl(post, prior), kl(post, prior)",
    "",
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
