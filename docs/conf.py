"""How the documentation is built: `make docs`, or `sphinx-build -n -W --keep-going docs docs/_build`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

project = "vaestar"
author = "the authors of vaestar"
project_copyright = "the authors of vaestar, MIT licence"
release = version_of("vaestar")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "site_map",
    "command_tables",
    "setting_tables",
    "reward_table",
    "properties",
]
exclude_patterns = ["_build", "_extensions"]

# The same Markdown is read on a forge, so nothing that only Sphinx understands: no substitutions, no admonitions.
myst_heading_anchors = 3

smartquotes = False  # '' is an empty text, not a pair of quotation marks
default_role = "code"  # docstrings name things in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the signature of the source, shapes in words
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
# Types of other projects are named, not linked: their indices would have to be fetched.
nitpick_ignore_regex = [("py:.*", r"(?!(agent|rewards|instrument_adapters|simulators)\.).*")]

html_theme = "furo"
html_title = "vaestar"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1b5e8c", "color-brand-content": "#1b5e8c"},
    "dark_css_variables": {"color-brand-primary": "#7fc1ea", "color-brand-content": "#7fc1ea"},
}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
