"""How many kernels one call of a program launches on a GPU, counted in XLA's optimised HLO text.

Launching a kernel takes some microseconds, however small it is. Each instruction that is left after
XLA's optimisation is one kernel, or one call of a library (cuBLAS, cuDNN), except those that only
name memory. The body of a loop counts as often as the loop turns. CUDA graphs, by which XLA may
launch several kernels at once, are not considered.
"""

import re
from collections import Counter
from typing import NamedTuple

# These only name memory or order other instructions.
FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all"}
FREE |= {"opt-barrier", "add-dependency", "partition-id", "replica-id"}

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_NAME = re.compile(r"^(?:ROOT )?%?[\w.\-]+ = ")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


class Loop(NamedTuple):
    """A loop of the program, and what it launches in all its turns."""

    turns: int | None  # None: known only when the program runs; counted as one
    launches: int  # in all turns, once through the loop


class Launches(NamedTuple):
    """The launches of one call."""

    kinds: Counter[str]  # by instruction, or by library function: "fusion", "__cublas$gemm"
    loops: list[Loop]  # the largest first; those inside another are counted for one call of it

    @property
    def total(self) -> int:
        return self.kinds.total()

    @property
    def is_complete(self) -> bool:
        """Whether the number of turns of every loop is known."""
        return all(loop.turns is not None for loop in self.loops)


def count(hlo: str) -> Launches:
    """The launches of one call of the program with this text (`..._after_optimizations.txt`).

    Raises:
      ValueError: the text has no ENTRY computation; one sentence.
    """
    computations, entry = parse(hlo)
    if entry is None:
        raise ValueError("This is no text of an HLO module: it has no ENTRY computation.")
    loops: list[Loop] = []
    kinds = _of_computation(computations, entry, loops)
    return Launches(kinds, sorted(loops, key=lambda loop: -loop.launches))


def parse(hlo: str) -> tuple[dict[str, list[str]], str | None]:
    """({computation: its instructions, one line each}, name of the entry)."""
    computations: dict[str, list[str]] = {}
    entry, current = None, None
    for line in hlo.splitlines():
        head = _HEAD.match(line)
        if head:
            current = head[2]
            computations[current] = []
            entry = current if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            computations[current].append(line.strip())
    return computations, entry


def opcode(line: str) -> str:
    """The operation of an instruction: `%a.1 = (f32[2], s32[]) while(%b), ...` -> "while"."""
    rest = _NAME.sub("", line)
    depth = 0
    for place, letter in enumerate(rest):  # the type comes first; a tuple's holds spaces
        depth += (letter in "({[") - (letter in ")}]")
        if letter == " " and depth == 0:
            return rest[place + 1 :].split("(", 1)[0]
    return ""


def _of_computation(
    computations: dict[str, list[str]], name: str, loops: list[Loop]
) -> Counter[str]:
    """What one call of this computation launches; appends its loops."""
    found: Counter[str] = Counter()
    for line in computations[name]:
        what = opcode(line)
        if what == "while":
            found += _of_loop(computations, line, loops)
        elif what == "conditional":
            branches = [_of_computation(computations, x, loops) for x in _called(line)]
            found += max(branches, key=Counter.total)
        elif what in ("call", "async-start"):
            for inner in _called(line):
                found += _of_computation(computations, inner, loops)
        elif what == "custom-call":
            found[line.split('custom_call_target="', 1)[1].split('"', 1)[0]] += 1
        elif what not in FREE and not what.endswith("-done"):
            found[what] += 1
    return found


def _of_loop(computations: dict[str, list[str]], line: str, loops: list[Loop]) -> Counter[str]:
    known = _TRIPS.search(line)
    parts = dict(re.findall(r"(body|condition)=%?([\w.\-]+)", line))
    turns = int(known[1]) if known else 1
    once = _of_computation(computations, parts["body"], loops)
    if known is None:  # else the host counts, and no kernel has to compare
        once += _of_computation(computations, parts["condition"], loops)
    found = Counter({what: turns * n for what, n in once.items()})
    loops.append(Loop(int(known[1]) if known else None, found.total()))
    return found


def _called(line: str) -> list[str]:
    """The computations that an instruction names."""
    one = re.findall(r"(?:to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)", line)
    many = re.search(r"(?:branch|called)_computations=\{([^}]*)\}", line)
    return one + ([x.strip().lstrip("%") for x in many[1].split(",")] if many else [])
