"""What a reader can touch in notebooks: dream, dashboard, settings, ablations, RSSM stepper.

Core ipywidgets only, in the way that versions 7.7 and 8 share, so that they work in JupyterLab and
on Colab. Each is a plain object first and widgets second: in a script, and in tests, the same
methods do the same things without a front end. Nothing but notebooks imports this; ipywidgets comes
with the extra `notebooks`.
"""

from dreamer_lite.course.widgets.ablations import Ablations
from dreamer_lite.course.widgets.dashboard import Dashboard
from dreamer_lite.course.widgets.dream import OWN, RECORDED, Dream, steer_in_page
from dreamer_lite.course.widgets.own_board import OwnDashboard
from dreamer_lite.course.widgets.panel import Panel
from dreamer_lite.course.widgets.progress import Beside
from dreamer_lite.course.widgets.stepper import Stepper

__all__ = [
    "OWN",
    "RECORDED",
    "Ablations",
    "Beside",
    "Dashboard",
    "Dream",
    "OwnDashboard",
    "Panel",
    "Stepper",
    "steer_in_page",
]
