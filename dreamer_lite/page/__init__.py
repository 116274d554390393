"""The dream page: a trained agent's imagined rollouts, steered in a browser, in one HTML file.

`data` collects what the page needs of an agent, `bundle` joins it with the programs in `js/`. These
mirror `dreamer_lite/agent` and the environments file by file, in JavaScript without libraries.
"""

from dreamer_lite.page.bundle import html, show
from dreamer_lite.page.data import collect

__all__ = ["collect", "html", "show"]
