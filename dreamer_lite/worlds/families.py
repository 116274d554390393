"""The families of hosted worlds: what each needs, and whether it is installed."""

import importlib.util
import sys
from typing import NamedTuple


class Family(NamedTuple):
    """A family of hosted worlds: all names that begin with `prefix`."""

    prefix: str  # "atari/"
    module: str  # the adapter in this folder, whose `make` takes the rest of the name
    package: str  # what it needs
    example: str
    about: str

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    @property
    def remedy(self) -> str:
        """The command that installs the missing package, by its own name.

        It names no extra of dreamer_lite, because pip would search an index for that name.
        """
        if self.package != "dm_control":
            return f"pip install {self.package.replace('_', '-')}"
        if sys.version_info < (3, 13):
            return 'pip install dm_control "mujoco>=3.17,<4"'
        return (  # one of its requirements has no wheel there, and the suite does without it
            "pip install --no-deps dm_control, then pip install dm-env dm-tree lxml glfw "
            'pyopengl absl-py requests "mujoco>=3.17,<4"'
        )


CONTROL = "the DeepMind Control Suite (or its images: dmc/.../pixels)"
FAMILIES = (
    Family("atari/", "atari", "ale_py", "atari/pong", "the Atari games of ale-py"),
    Family("dmc/", "dmc", "dm_control", "dmc/walker-walk", CONTROL),
    Family("gym/", "gym", "gymnasium", "gym/CartPole-v1", "any Gymnasium environment"),
)


def families() -> list[Family]:
    """The families of hosted worlds, installed or not."""
    return list(FAMILIES)
