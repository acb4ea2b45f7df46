# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation site: `make docs` builds it, and rosdoc2 takes it from rosdoc2.yaml.

Knows nothing of what the pages say.
"""

from sam2_ros import __version__

project = "sam2_ros"
author = "sam2_ros developers"
copyright = "2026, sam2_ros developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere is an error

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "sam2_ros"
