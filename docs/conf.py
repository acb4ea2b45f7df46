# SPDX-License-Identifier: Apache-2.0
"""Configuration of the documentation site. `make docs` builds it strictly; rosdoc2 builds it by rosdoc2.yaml.

Knows nothing of the contents of the pages.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import sam2_ros

# rosdoc2 builds a copy of this folder, so the repository is found by the package.
ROOT = Path(sam2_ros.__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))

project = "sam2_ros"
author = "sam2_ros developers"
copyright = "2026, sam2_ros developers"
release = version = sam2_ros.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "repository_links",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]  # rosdoc2 puts it beside the pages

# Links
repository_url = "https://github.com/sam2-ros/sam2_ros"
repository_root = str(ROOT)
included_pages = {
    "models/nano/README.md": "reference/nano",
    "CONTRIBUTING.md": "contributing",
}  # files outside docs/ that a page includes
nitpicky = True  # a broken reference is an error
nitpick_ignore_regex = [(r"py:.*", r"(?!sam2_ros\.).*")]  # types of other packages: not linked

# Text
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# The Python API: plain prose, in which single backticks are code
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
DEPENDENCIES = [
    "backports",
    "cv2",
    "jinja2",
    "matplotlib",
    "PIL",
    "psutil",
    "pycocotools",
    "rosbags",
    "safetensors",
]
DEPENDENCIES += ["scipy", "skimage", "torch", "typer", "yaml"]
autodoc_mock_imports = [
    name for name in DEPENDENCIES if find_spec(name) is None
]  # docs.ros.org has no PyTorch
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False

# The look
highlight_language = "none"  # of blocks that do not name theirs
html_theme = "furo"
html_title = "sam2_ros"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": f"{repository_url}/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = "$ "

rosdoc2_settings = {"allow_other_extensions": True, "override_theme": False}
