"""`worlds` and `doctor`: which environments there are, and what this machine lacks."""

import argparse
import json

from dreamer_lite.commands.output import say


def worlds(args: argparse.Namespace) -> int:
    """Print one line for each environment in JAX, and one for each family of other ones."""
    from dreamer_lite import worlds

    for name in worlds.names():
        world = worlds.make(name)
        shapes = (f"{k} {'x'.join(map(str, s.shape))}" for k, s in world.obs_space.items())
        actions = ", ".join(world.action_names)
        say(f"{name:18} observations: {', '.join(shapes)}; actions: {actions}")
    for family in worlds.families():
        missing = "" if family.installed else f"; not installed: {family.remedy}"
        say(f"{family.prefix + '...':18} {family.about}, such as {family.example}{missing}")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Check the machine; exit status 1 if something is missing."""
    from dreamer_lite.tools import doctor

    findings = doctor.examine()
    as_json = json.dumps([finding._asdict() for finding in findings])
    say(as_json if args.json else doctor.as_text(findings))
    return 0 if all(finding.good for finding in findings) else 1
