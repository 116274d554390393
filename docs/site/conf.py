"""Sphinx's settings for the pages that make_site.py gathers."""

from importlib.metadata import distribution

project = "Dreamer Lite"
html_title = project
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme = "furo"  # search, dark mode, next and previous
html_extra_path = ["extra"]  # copied as it is: the dream
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "github-dark"

nb_execution_mode = "off"  # outputs as stored
nb_merge_streams = True
nb_render_markdown_format = "gfm"
nb_mime_priority_overrides = [("html", "text/html", 0), ("html", "text/markdown", 1)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

# One file, which draws equations without fonts or other files.
MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"
html_static_path.append(str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX)))
mathjax_path = "tex-svg-full.js"
