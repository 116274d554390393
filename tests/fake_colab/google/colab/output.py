"""Stands in for the module by which Colab shows widgets that are not its own. JAX imports it."""


def enable_custom_widget_manager() -> None:
    """Nothing to do here: there is no page to load the widgets in."""


def disable_custom_widget_manager() -> None:
    """Nothing to do here either."""
