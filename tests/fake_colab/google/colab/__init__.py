"""Stands in for Colab's own module: `google.colab` in sys.modules is how Colab is recognised."""
