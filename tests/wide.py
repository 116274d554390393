"""The library in float64, for tests: what differs then is no rounding.

The modules of the library see numpy and JAX with a `float32` that is float64.
"""

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dreamer_lite


class Wide(ModuleType):
    """A module in which `float32` is float64."""

    def __init__(self, module: ModuleType):
        super().__init__(module.__name__)
        self._module = module
        self.float32 = module.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def compute_in_float64() -> None:
    """From here on the library's parameters, losses and states are float64 in this process."""
    jax.config.update("jax_enable_x64", True)
    for room in ("agent", "training", "worlds"):
        package = importlib.import_module(f"{dreamer_lite.__name__}.{room}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for name, module in sys.modules.items():
        if name.startswith("dreamer_lite."):
            for own, real in (("np", np), ("jnp", jnp)):
                if vars(module).get(own) is real:
                    setattr(module, own, Wide(real))
