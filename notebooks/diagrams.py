"""The diagrams of single concepts: RSSM, GRU, ring buffer, from VAE to RSSM, gradients.

Each function returns the figure; its alt text stands beside it. `figures.py` writes the files.
"""

import math

from drawing import (
    AMBER,
    BLUE,
    DASHES,
    GREEN,
    GREY,
    INK,
    LARGE,
    LINE,
    NORMAL,
    PALE_AMBER,
    PALE_BLUE,
    PALE_GREEN,
    RED,
    SMALL,
    WHITE,
    Canvas,
    Point,
)
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from screens import FIVE_CLICKS_ALT, five_clicks

RSSM_ALT = (
    "An RSSM unrolled over five time steps. Boxes h1 to h5 form a chain from left to right: each "
    "h follows from the h, the z and the action a of the step before. In steps 1 to 3, on blue "
    "ground, an observation x enters from above: solid arrows lead from h and x to the circle z, "
    "the posterior; a dashed arrow leads from h alone to a dashed circle, the prior; a KL term "
    "connects the two. In steps 4 and 5, on amber ground, there is no x: z is sampled from the "
    "prior, by the dashed arrow. In every step h and z together lead to the decoder's output."
)


def rssm_unrolled() -> Figure:
    """Three steps with an observation, two without."""
    c = Canvas(14.0, 7.1)
    width, seen, radius, level, top = 2.7, 3, 0.42, 4.0, 5.8
    c.area((0.1, 1.35), (8.05, 7.0), PALE_BLUE, "Observing: $z_t$ from the posterior", size=LARGE)
    words = "Imagining: $\\hat z_t$ from the prior"
    c.area((8.15, 1.35), (13.9, 7.0), PALE_AMBER, words, size=LARGE)
    for i in range(5):
        x, now = 1.5 + width * i, i + 1
        z, out, obs = (x + 0.62, level), (x - 0.25, top), (x + 0.62, top)
        c.box((x, 2.5), (0.95, 0.75), f"$h_{now}$", text=LARGE)
        c.arrow((x - 0.05, 2.88), (out[0], top - 0.34))
        c.arrow((z[0] - 0.2, level + 0.38), (out[0] + 0.25, top - 0.34))
        c.box(out, (0.72, 0.66), f"$\\hat x_{now}$", edge=GREEN, text=LARGE)
        into_z = (x + 0.15, 2.88), (z[0] - 0.12, level - radius)
        if i < seen:
            prior = (x - 0.87, level)
            c.circle(z, radius, f"$z_{now}$", WHITE, BLUE, text=LARGE, thick=2)
            c.arrow(*into_z, BLUE, 2)
            c.arrow((obs[0], top - 0.34), (z[0], level + radius), BLUE, 2)
            c.box(obs, (0.72, 0.66), f"$x_{now}$", colour=GREY, edge=INK, text=LARGE)
            c.circle(prior, radius, f"$\\hat z_{now}$", WHITE, RED, "--", LARGE)
            c.arrow((x - 0.25, 2.88), (prior[0] + 0.17, level - radius), RED, 1.6, DASHES)
            c.axes.plot([prior[0], z[0]], [level, level], color=INK, lw=1, ls=":", zorder=1)
            c.text((x - 0.12, level), "KL", SMALL, clear=True, ground=PALE_BLUE)
        else:
            c.circle(z, radius, f"$\\hat z_{now}$", WHITE, RED, "--", LARGE, thick=2)
            c.arrow(*into_z, RED, 2, DASHES)
        if now < 5:
            c.arrow((x + 0.48, 2.5), (x + width - 0.48, 2.5))
            c.arrow((z[0] + 0.3, level - 0.3), (x + width - 0.4, 2.88))
            c.text((x + width - 0.95, 1.68), f"$a_{now}$", LARGE)
            c.arrow((x + width - 0.75, 1.82), (x + width - 0.48, 2.22))
    c.text((2.22, 4.95), "encoder", SMALL, ha="left", style="italic")
    c.text((12.0, 4.75), "decoder", SMALL, ha="right", style="italic")
    c.arrow((0.2, 2.5), (1.02, 2.5))
    c.arrow((0.4, 0.95), (1.2, 0.95), BLUE, 2)
    c.text((1.35, 0.95), "posterior $q(z_t \\mid h_t, x_t)$", ha="left")
    c.arrow((5.0, 0.95), (5.8, 0.95), RED, 2, DASHES)
    c.text((5.95, 0.95), "prior $p(\\hat z_t \\mid h_t)$", ha="left")
    c.arrow((8.9, 0.95), (9.7, 0.95))
    c.text((9.85, 0.95), "deterministic function", ha="left")
    c.text(
        (0.4, 0.4),
        "Box: deterministic. Circle: sampled. "
        "$h_t = f(h_{t-1}, z_{t-1}, a_{t-1})$;  $\\hat x_t$ = decoder$(h_t, z_t)$.",
        ha="left",
    )
    return c.figure


GRU_ALT = (
    "The recurrent cell of DreamerV3, from left to right. The old h, the old z and the old action "
    "go through a layer each (linear, RMSNorm, SiLU). The three results and the old h itself are "
    "concatenated and pass a block-linear map, RMSNorm and SiLU; the result is the gates' input. "
    "A second block-linear map makes three vectors of it: reset, candidate and update. The sigmoid "
    "of reset multiplies the candidate, then comes tanh. The sigmoid of update minus one is u. The "
    "new h is u times the candidate plus one minus u times the old h, which arrives along the top."
)


def gru() -> Figure:
    """Embedding of the inputs, mixing, gates."""
    c = Canvas(14.0, 6.3)
    c.area((0.1, 0.75), (6.7, 6.2), PALE_BLUE)
    c.area((6.8, 0.75), (13.9, 6.2), PALE_AMBER)
    c.text((0.25, 0.98), "core: makes the gates' input", ha="left", weight="bold")
    c.text((6.95, 0.98), "gru: the gates", ha="left", weight="bold")
    top, lanes = 5.75, (4.4, 3.05, 1.7)
    for y, name in zip(lanes, "hza"):
        c.text((0.6, y), f"${name}_{{t-1}}$", LARGE)
        c.arrow((1.0, y), (1.4, y))
        c.box((2.25, y), (1.7, 0.85), "linear", "norm, SiLU")
        c.arrow((3.1, y), (3.5, y))
    c.box((3.7, 3.05), (0.4, 3.6), "", colour=GREY)
    c.text((3.7, 3.05), "concatenate", SMALL, rotation=90)
    c.path([(0.6, 4.65), (0.6, top), (12.85, top), (12.85, 3.83)])
    c.arrow((3.7, top), (3.7, 4.85))
    c.text((3.9, 5.3), "each block its own part", SMALL, ha="left", style="italic")
    c.arrow((3.9, 3.05), (4.3, 3.05))
    c.box((5.25, 3.05), (1.9, 1.0), "block-linear", "norm, SiLU")
    c.arrow((6.2, 3.05), (7.1, 3.05))
    c.text((6.55, 3.3), "input", SMALL)
    c.box((7.75, 3.05), (1.3, 3.5), "block-\nlinear")
    for y, name in zip(lanes, ("reset", "candidate", "update")):
        c.text((9.05, y + 0.24), name, SMALL)
    c.arrow((8.4, lanes[0]), (9.8, lanes[0]))
    c.circle((10.1, lanes[0]), 0.3, "$\\sigma$", text=LARGE)
    c.arrow((10.1, 4.1), (10.1, 3.35))
    c.arrow((8.4, 3.05), (9.8, 3.05))
    c.circle((10.1, 3.05), 0.3, "×", text=LARGE)
    c.arrow((10.4, 3.05), (10.68, 3.05))
    c.box((11.02, 3.05), (0.68, 0.55), "tanh", text=SMALL)
    c.arrow((11.36, 3.05), (11.88, 3.05))
    c.text((11.6, 3.42), "$\\tilde h$", LARGE)
    c.arrow((8.4, lanes[2]), (9.75, lanes[2]))
    c.box((10.4, lanes[2]), (1.3, 0.6), "$\\sigma(\\cdot - 1)$")
    c.path([(11.05, lanes[2]), (12.5, lanes[2]), (12.5, 2.28)])
    c.text((12.2, 1.95), "$u$", LARGE)
    c.box((12.85, 3.05), (1.94, 1.55), "$u\\,\\tilde h\\, +$\n$(1-u)\\,h_{t-1}$")
    c.arrow((13.3, 2.28), (13.3, 1.45))
    c.text((13.3, 1.2), "$h_t$", LARGE)
    words = (
        "Block-linear: the vector is cut in $g$ blocks with a matrix each; "
        "with $g$ = 1 it is an ordinary linear map."
    )
    c.text((0.15, 0.38), words, ha="left")
    return c.figure


RING_ALT = (
    "The ring buffer of one environment, drawn as a circle of 24 places, numbered 0 to 23. 30 time "
    "steps have been added: steps 6 to 29 are stored, step i at place i modulo 24. The write head "
    "points at place 6, which holds step 6, the oldest; the newest, step 29, is at place 5, just "
    "before it. The darker a place, the newer its step. A window of six steps, 20 to 25, is framed "
    "and runs over the seam from place 23 to place 0. On the right the window is drawn as a row of "
    "T plus 1 cells: the first gives the state before and the first action, the other T are "
    "trained on. A window never contains the write head between two of its steps."
)


def ring() -> Figure:
    """Where the steps lie, where the next one is written, and what a window is."""
    c = Canvas(14.0, 7.6)
    places, added, first, length = 24, 30, 20, 5
    middle, inner, outer = (3.95, 3.75), 1.95, 2.95

    def at(place: float, radius: float) -> Point:
        angle = math.pi / 2 - 2 * math.pi * (place + 0.5) / places
        return middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)

    def wedge(place: int, **how) -> None:
        high = 90 - 360 * place / places
        low, width = high - 360 / places, outer - inner
        c.axes.add_patch(Wedge(middle, outer, low, high, width=width, **how))

    def shade(step: int) -> tuple[float, float, float]:
        age = (added - 1 - step) / (places - 1)  # 0 is the newest
        return tuple(a + (b - a) * age for a, b in zip((0.36, 0.62, 0.82), (0.87, 0.92, 0.96)))

    for step in range(added - places, added):
        place = step % places
        inside = first <= step <= first + length
        wedge(place, facecolor=shade(step), edgecolor=WHITE, linewidth=1.5, zorder=1)
        if inside:
            hatch = "////" if step == first else None
            wedge(place, facecolor="none", edgecolor=AMBER, linewidth=0, hatch=hatch, zorder=2)
        c.text(at(place, 2.45), str(step), NORMAL, weight="bold" if inside else "normal")
        c.text(at(place, 1.68), str(place), SMALL, color=LINE)
    start, stop = (90 - 360 * p / places for p in (first, first + length + 1))
    c.axes.add_patch(
        Wedge(middle, outer, stop, start, width=outer - inner, facecolor="none", edgecolor=AMBER,
              linewidth=3.5, zorder=3)
    )  # fmt: skip
    c.text(middle, "place =\nstep modulo $L$\n($L$ = 24)", NORMAL)
    head = added % places
    c.arrow(at(head, 3.95), at(head, 3.05), RED, 2.6)
    c.text((8.0, 3.05), "write head: step 30 goes here,\nover step 6, the oldest", ha="left",
           color=RED)  # fmt: skip
    c.text((7.15, 4.55), "newest: step 29", ha="left")
    c.arrow((7.1, 4.5), (6.85, 4.3))
    c.text((0.2, 7.3), "Ring buffer of one of $W$ environments", LARGE, ha="left", weight="bold")
    # The window as a row
    c.text((8.0, 7.3), "A window of $T+1$ steps ($T$ = 5)", LARGE, ha="left", weight="bold")
    for k in range(length + 1):
        step, x = first + k, 8.35 + 0.9 * k
        box = c.box((x, 6.4), (0.8, 0.7), str(step), colour=shade(step), edge=AMBER, thick=2.5)
        if k == 0:
            box.set_hatch("////")
    c.axes.plot([7.98, 8.72], [5.9, 5.9], color=INK, lw=1.2)
    c.axes.plot([8.9, 13.2], [5.9, 5.9], color=INK, lw=1.2)
    c.text((7.98, 5.75), "state, first\naction", SMALL, ha="left", va="top")
    c.text((11.05, 5.75), "$T$ steps to train on", SMALL, va="top")
    c.text((8.0, 1.7), "start is drawn uniformly from\n"
           "oldest ... added $-\\,(T+1)$,\nso no window crosses the write head", ha="left",
           va="center")  # fmt: skip
    c.text((0.2, 0.25), "In a cell: number of the time step. Inside the ring: its place.", SMALL,
           ha="left")  # fmt: skip
    return c.figure


VAE_ALT = (
    "Three small graphs from left to right. First, a VAE: x leads by a solid arrow, the posterior, "
    "to a circle z, and z to the reconstruction; a dashed arrow from a fixed prior p of z leads to "
    "z. Second, a sequential VAE, two time steps: z of step t minus one and the action lead by a "
    "dashed arrow, the prior, to z of step t; x of each step leads to its z, z to the "
    "reconstruction. Third, an RSSM: a chain of boxes h is added below; h follows from the h, z "
    "and a of the step before, and the prior and the posterior of z depend on h. Below each graph "
    "stands its KL term: posterior of z given x against the fixed prior; against the prior given "
    "the z before; against the prior given h."
)


def vae_to_rssm() -> Figure:
    """One bridge in three steps."""
    c = Canvas(14.0, 6.7)

    def column(x: float, t: str, colour: str = BLUE) -> None:
        sub = f"_{{{t}}}" if t else ""
        c.box((x + 0.45, 5.25), (0.8, 0.62), f"$x{sub}$", colour=GREY, edge=INK)
        c.box((x - 0.45, 5.25), (0.8, 0.62), f"$\\hat x{sub}$", edge=GREEN)
        c.circle((x, 3.8), 0.44, f"$z{sub}$", WHITE, colour, thick=2)
        c.arrow((x + 0.4, 4.94), (x + 0.17, 4.21), BLUE, 2)
        c.arrow((x - 0.17, 4.21), (x - 0.4, 4.94))

    def given(start: Point, end: Point) -> None:
        """An input of the prior and of the posterior: two arrows side by side."""
        length = math.dist(start, end)
        across = -(end[1] - start[1]) / length, (end[0] - start[0]) / length
        for side, colour, dashes in ((0.13, RED, DASHES), (-0.13, BLUE, None)):
            points = [(x + side * across[0], y + side * across[1]) for x, y in (start, end)]
            c.arrow(*points, colour, 2, dashes)

    titles = [(0.1, 3.2, "VAE", PALE_BLUE), (3.3, 8.1, "Sequential VAE", PALE_GREEN),
              (8.2, 13.9, "RSSM", PALE_AMBER)]  # fmt: skip
    for low, high, title, colour in titles:
        c.area((low, 1.7), (high, 6.6), colour, title, size=LARGE, weight="bold")
    column(1.65, "")
    c.text((1.65, 2.3), "$p(z)$, fixed")
    c.arrow((1.65, 2.55), (1.65, 3.36), RED, 2, DASHES)
    column(4.55, "t-1")
    column(6.95, "t")
    given((5.02, 3.8), (6.48, 3.8))
    c.text((5.15, 2.3), "$a_{t-1}$")
    given((5.5, 2.5), (6.6, 3.43))
    for x, t in ((9.8, "t-1"), (12.5, "t")):
        column(x, t)
        c.box((x, 2.3), (0.95, 0.66), f"$h_{{{t}}}$")
        given((x, 2.63), (x, 3.34))
        c.arrow((x - 0.36, 2.63), (x - 0.72, 4.94))
    c.arrow((8.35, 2.3), (9.32, 2.3))
    c.arrow((10.28, 2.3), (12.02, 2.3))
    c.arrow((10.15, 3.52), (12.02, 2.5))
    c.text((10.7, 1.95), "$a_{t-1}$")
    c.arrow((11.1, 1.98), (12.02, 2.13))
    words = [
        (1.65, "KL[ $q(z \\mid x)$\n‖ $p(z)$ ]"),
        (5.7, "KL[ $q(z_t \\mid z_{t-1}, a_{t-1}, x_t)$\n‖ $p(z_t \\mid z_{t-1}, a_{t-1})$ ]"),
        (11.05, "KL[ $q(z_t \\mid h_t, x_t)$ ‖ $p(z_t \\mid h_t)$ ]\n"
                "$h_t = f(h_{t-1}, z_{t-1}, a_{t-1})$"),
    ]  # fmt: skip
    for x, text in words:
        c.text((x, 1.15), text)
    c.arrow((0.3, 0.35), (1.1, 0.35), BLUE, 2)
    c.text((1.25, 0.35), "posterior (encoder)", ha="left")
    c.arrow((5.0, 0.35), (5.8, 0.35), RED, 2, DASHES)
    c.text((5.95, 0.35), "prior", ha="left")
    c.arrow((7.7, 0.35), (8.5, 0.35))
    c.text((8.65, 0.35), "decoder, recurrence", ha="left")
    return c.figure


GRADIENTS_ALT = (
    "Who teaches whom: losses are ovals, networks boxes, solid arrows are gradients, and dashed "
    "lines with two bars are stop-gradients. The reconstruction loss teaches the decoder, the "
    "reward and continue losses the heads; from there the gradient flows into the state h, z, and "
    "on into posterior, encoder and GRU. The KL term dyn teaches the prior and, through it, the "
    "GRU; its way to the posterior is stopped. The KL term rep teaches posterior, encoder and GRU; "
    "its way to the prior is stopped. The value loss on replayed states teaches the critic and "
    "flows on into the state. The value loss on imagined states teaches the critic alone and the "
    "policy loss the actor alone: imagined states pass no gradient to the world model, and the "
    "advantage passes none to the critic."
)


def gradients() -> Figure:
    """Gradients of each loss, and where they stop."""
    c = Canvas(14.0, 8.0)
    c.area((0.1, 0.85), (7.85, 7.9), PALE_BLUE)
    c.text((0.25, 1.15), "World model", LARGE, ha="left", weight="bold")
    c.area((7.95, 5.35), (13.9, 7.9), PALE_BLUE)
    c.area((7.95, 0.85), (13.9, 5.25), PALE_AMBER, "Actor and critic", size=LARGE, weight="bold")
    box = (1.75, 0.7)

    def net(at: Point, title: str, size: Point = box) -> None:
        c.box(at, size, title, edge=INK)

    def loss(at: Point, title: str, width: float = 2.55) -> None:
        patch = c.box(at, (width, 0.66), title, colour=WHITE, edge=GREEN, thick=2)
        patch.set_boxstyle("round", pad=0, rounding_size=0.33)

    def flow(start: Point, end: Point, **how) -> None:
        c.arrow(start, end, BLUE, 2, **how)

    net((2.5, 7.1), "encoder")
    net((2.5, 5.7), "posterior $q$", (3.9, 0.7))
    net((2.5, 2.0), "prior $p$", (3.9, 0.7))
    net((6.7, 3.85), "GRU")
    c.box((6.7, 5.7), (1.75, 0.7), "state $h_t, z_t$", colour=GREY)
    loss((1.4, 3.85), "dyn", 1.2)
    loss((3.6, 3.85), "rep", 1.2)
    c.stop((1.4, 4.18), (1.4, 5.35))
    flow((1.4, 3.52), (1.4, 2.35))
    flow((3.6, 4.18), (3.6, 5.35))
    c.stop((3.6, 3.52), (3.6, 2.35))
    flow((2.5, 6.05), (2.5, 6.75))
    flow((5.82, 5.7), (4.45, 5.7))
    flow((6.7, 5.35), (6.7, 4.2))
    flow((4.45, 5.45), (5.95, 4.2))
    flow((4.45, 2.2), (5.95, 3.5))
    net((9.2, 7.3), "decoder")
    net((9.2, 6.0), "heads")
    net((9.2, 3.6), "critic")
    net((9.2, 1.6), "actor")
    loss((12.4, 7.3), "reconstruction")
    loss((12.4, 6.0), "reward, continue")
    loss((12.4, 4.05), "value, replayed")
    loss((12.4, 3.1), "value, imagined")
    loss((12.4, 1.6), "policy")
    flow((11.12, 7.3), (10.08, 7.3))
    flow((11.12, 6.0), (10.08, 6.0))
    flow((11.12, 4.05), (10.08, 3.75))
    flow((11.12, 3.1), (10.08, 3.45))
    flow((11.12, 1.6), (10.08, 1.6))
    flow((8.32, 7.15), (7.3, 6.05))
    flow((8.32, 5.95), (7.58, 5.8))
    flow((8.5, 3.95), (7.3, 5.35))
    c.box((6.7, 1.6), (1.75, 0.8), "imagined\nstates", colour=GREY)
    c.stop((8.32, 1.6), (7.58, 1.6))
    c.stop((8.5, 3.25), (7.4, 2.0))
    c.stop((6.7, 2.0), (6.7, 3.5))
    c.stop((11.4, 1.9), (9.9, 3.25))
    c.text((11.05, 2.55), "advantage", SMALL, ha="left")
    flow((0.3, 0.42), (1.1, 0.42))
    c.text((1.25, 0.42), "gradient", ha="left")
    c.stop((3.0, 0.42), (3.9, 0.42))
    c.text((4.05, 0.42), "stop-gradient (sg)", ha="left")
    loss((7.7, 0.42), "loss", 1.0)
    c.text((8.5, 0.42), "Through $h_t$, gradients reach\nearlier steps, too.", SMALL, ha="left")
    c.text((5.13, 6.15), "straight-\nthrough", SMALL, style="italic")
    return c.figure


DREAM_ALT = (
    "The data of dream_losses from left to right. Solid blue arrows let a gradient flow back, "
    "dashed lines with two bars do not. The imagined states lead by stopped edges to the reward "
    "head, the continue head, the critic and the actor. Reward, continuation and value lead by "
    "stopped edges to the lambda-returns. Returns and value lead to the advantage, the value by "
    "a stopped edge. The critic's logits lead to the value loss by a solid arrow, returns and "
    "the slow critic by stopped edges. The actor's policy leads to the policy loss by a solid "
    "arrow, the advantage by a stopped edge. Both losses are weighted by w, which comes from "
    "the continue head by a stopped edge. So a gradient reaches the critic from the value loss, "
    "the actor from the policy loss, and nothing else."
)


def dream_losses() -> Figure:
    """Which data the losses of actor and critic are made of, and where gradients flow back."""
    c = Canvas(14.0, 7.6)
    c.area((0.1, 0.85), (3.0, 7.5), PALE_AMBER)
    c.area((3.6, 4.3), (6.5, 7.5), PALE_BLUE, "world model", weight="bold")
    c.area((3.6, 0.85), (6.5, 4.2), PALE_GREEN)
    c.box((1.55, 4.1), (2.3, 1.3), "imagined\nstates $h_t, z_t$", colour=GREY)
    c.text((1.55, 3.1), "(H+1, N, ...)", SMALL)
    c.text((5.05, 2.4), "learn", weight="bold")
    heads = {"reward head": 6.5, "continue head": 5.1, "critic": 3.3, "actor": 1.5}
    for title, y in heads.items():
        c.box((5.05, y), (2.4, 0.75), title, edge=INK)
        c.stop((2.7, 4.1 + 0.16 * (y - 4.1)), (3.85, y), where=0.4)
    c.box((8.9, 5.6), (2.3, 0.8), "$\\lambda$-returns $R_t$", colour=GREY)
    c.box((8.9, 2.4), (2.3, 0.8), "advantage $A_t$", colour=GREY)
    for y, end in ((6.5, 5.85), (5.1, 5.5)):
        c.stop((6.25, y), (7.75, end))
    c.stop((6.25, 3.5), (7.95, 5.2), where=0.6)
    c.stop((6.25, 3.1), (7.75, 2.55), where=0.45)
    c.arrow((8.9, 5.2), (8.9, 2.8))
    c.box((12.4, 6.6), (2.3, 0.75), "slow critic", edge=INK)
    for title, y in (("value loss", 4.6), ("policy loss", 1.5)):
        patch = c.box((12.4, y), (2.4, 0.75), title, edge=GREEN, thick=2)
        patch.set_boxstyle("round", pad=0, rounding_size=0.37)
        c.text((12.4, y - 0.62), "weighted by sg($w_t$), (H, N)", SMALL)
    c.stop((12.4, 6.22), (12.4, 4.98))
    c.stop((10.05, 5.5), (11.2, 4.9))
    c.stop((10.05, 2.25), (11.2, 1.75))
    c.arrow((6.25, 3.3), (11.2, 4.5), BLUE, 2)
    c.arrow((6.25, 1.5), (11.2, 1.5), BLUE, 2)
    c.text((7.4, 6.45), "$r_t$", SMALL)
    c.text((6.9, 5.62), "$c_t$", SMALL)
    c.text((6.75, 4.42), "$v_t$", SMALL)
    c.text((6.95, 2.5), "$v_t$", SMALL)
    c.text((10.2, 4.62), "logits", SMALL)
    c.text((8.9, 1.2), "policy $\\pi(a_t)$", SMALL)
    c.arrow((0.3, 0.42), (1.1, 0.42), BLUE, 2)
    c.text((1.25, 0.42), "data; a gradient flows back", ha="left")
    c.stop((5.9, 0.42), (6.8, 0.42))
    c.text((6.95, 0.42), "data, stop-gradient (sg)", ha="left")
    c.arrow((10.9, 0.42), (11.7, 0.42))
    c.text((11.85, 0.42), "data", ha="left")
    return c.figure


# name: (title, alt text, function)
DIAGRAMS = {
    "rssm_unrolled": ("The RSSM unrolled", RSSM_ALT, rssm_unrolled),
    "gru": ("The recurrent cell", GRU_ALT, gru),
    "ring": ("The ring buffer", RING_ALT, ring),
    "vae_to_rssm": ("From VAE to RSSM", VAE_ALT, vae_to_rssm),
    "gradients": ("Who teaches whom", GRADIENTS_ALT, gradients),
    "dream_losses": ("The losses of actor and critic", DREAM_ALT, dream_losses),
    "five_clicks": ("A full run on Colab, in five clicks", FIVE_CLICKS_ALT, five_clicks),
}
