"""The program `dreamer-lite`, also as `python -m dreamer_lite`; see `dreamer_lite.commands`."""

import sys

from dreamer_lite import files

if __name__ == "__main__":  # `python -m` looks for modules in the current folder first
    files.forget_current_folder()

from dreamer_lite.commands.main import entry, main

__all__ = ["entry", "main"]

if __name__ == "__main__":
    sys.exit(entry())
