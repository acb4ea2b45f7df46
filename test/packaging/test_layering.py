# SPDX-License-Identifier: Apache-2.0
"""Checks the imports between layers: data flows one way, and the engine runs without ROS, files or the web.

Reads import statements only, those inside functions included. Runs nothing.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sam2_ros"

BASE = {"errors", "text", "atomic_write", "share_folder"}  # files that every layer may import
# layer -> the layers that it may import; each stands above those
MAY_IMPORT: dict[str, set[str]] = {
    "host_memory": set(),
    "result_folder": set(),
    "engine": set(),
    "backends": {"errors", "engine", "result_folder"},  # the one that knows onnxruntime
    "weights": {"errors", "engine", "backends"},  # the one that knows the web; opens every model
    "state": {"engine"},  # the one that keeps memories in files
    "media": {"engine", "result_folder"},
    "synthetic": set(),
    "datasets": {"result_folder", "media", "synthetic"},
    "node": {"host_memory", "engine", "state", "weights", "media"},
    "live": {"engine", "media"},  # the node is a process that it starts
    "offline": {"result_folder", "engine", "state", "weights", "media"},
    "eval": {
        "state",
        "errors",
        "host_memory",
        "result_folder",
        "engine",
        "weights",
        "media",
        "synthetic",
        "datasets",
        "live",
        "offline",
    },
    "bench": {
        "result_folder",
        "engine",
        "weights",
        "media",
        "synthetic",
        "live",
        "eval",
    },
    "train": {"host_memory", "result_folder", "engine", "weights", "media", "synthetic", "datasets", "eval"},
}
MAY_IMPORT["ui"] = {
    "host_memory",
    "result_folder",
    "engine",
    "weights",
    "media",
    "synthetic",
    "datasets",
    "live",
    "offline",
}
MAY_IMPORT["cli"] = set(MAY_IMPORT) - {"node", "result_folder", "synthetic"}
for known in MAY_IMPORT.values():
    known |= BASE
MAY_IMPORT["engine"] = {"errors", "text"}  # it opens no file
MAY_IMPORT |= {"errors": set(), "text": set(), "atomic_write": set(), "share_folder": {"errors"}}
ROS = {"rclpy", "cv_bridge", "message_filters", "tf2_ros", "launch", "launch_ros", "ament_index_python"}
ROS_SUFFIXES = ("_msgs", "_srvs", "_interfaces")
SOURCES = sorted(PACKAGE.rglob("*.py"))


def layer_of(parts: tuple[str, ...]) -> str:
    """("sam2_ros", "engine", "tracker") -> "engine"."""
    return ".".join(parts[1:2])


def imports_of(source: Path) -> set[str]:
    """Full names of the modules that a file imports, relative imports resolved."""
    module = source.relative_to(ROOT).with_suffix("").parts
    names = set()
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            names |= {f"{origin}.{alias.name}" for alias in node.names} if origin == "sam2_ros" else {origin}
    return names


def is_ros(name: str) -> bool:
    top = name.split(".")[0]
    return top in ROS or top.endswith(ROS_SUFFIXES)


def named(sources: list[Path]) -> list[object]:
    return [pytest.param(source, id=source.relative_to(PACKAGE).as_posix()) for source in sources]


@pytest.mark.parametrize("source", named(SOURCES))
def test_a_module_imports_only_the_layers_below_it(source: Path) -> None:
    own = layer_of(source.relative_to(ROOT).with_suffix("").parts)
    if own == "__init__":  # the package itself imports nothing, so that importing one layer loads no other
        assert not {name for name in imports_of(source) if name.startswith("sam2_ros")}
        return
    assert own in MAY_IMPORT, f"{source} is in no layer of the architecture"
    others = {
        layer_of(tuple(name.split("."))) for name in imports_of(source) if name.split(".")[0] == "sam2_ros"
    }
    # sam2_ros itself ("") and its __version__ know nothing
    assert others - {own, "", "__version__"} <= MAY_IMPORT[own]


@pytest.mark.parametrize("source", named(sorted((PACKAGE / "engine").rglob("*.py"))))
def test_the_engine_imports_torch_numpy_and_cv2_only(source: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(source)}
    ours = {"triton"} if source.name == "triton_attention.py" else set()  # a kernel, imported on a GPU alone
    assert tops - set(sys.stdlib_module_names) <= {"torch", "numpy", "cv2", "sam2_ros"} | ours


@pytest.mark.parametrize("source", named(sorted((PACKAGE / "ui").rglob("*.py"))))
def test_each_part_of_the_page_alone_knows_its_packages(source: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(source)}
    part = source.relative_to(PACKAGE / "ui").parts[0]
    assert part == "store" or not tops & {"sqlalchemy", "alembic"}
    assert part == "server" or not tops & {"fastapi", "uvicorn", "starlette", "websockets"}


@pytest.mark.parametrize("source", named(SOURCES))
def test_ros_is_imported_only_where_a_graph_may_be(source: Path) -> None:
    ros = {name for name in imports_of(source) if is_ros(name)}
    live_test = source == PACKAGE / "bench" / "soak.py"
    beside_a_node = source.is_relative_to(PACKAGE / "ui" / "live")
    allowed = (
        live_test
        or beside_a_node
        or layer_of(source.relative_to(ROOT).with_suffix("").parts) in {"node", "live"}
    )
    assert allowed or not ros


@pytest.mark.parametrize("source", named(SOURCES))
def test_a_file_begins_with_what_it_does_and_what_it_does_not_know(source: Path) -> None:
    text = source.read_text("utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{source} begins without a docstring"


def test_the_checks_see_what_they_should(tmp_path: Path) -> None:
    assert is_ros("sensor_msgs.msg")
    assert is_ros("rclpy.node")
    assert not is_ros("rosbags.typesys")
    assert layer_of(("sam2_ros", "cli", "prompts")) == "cli"
    node_modules = [PACKAGE / "node" / "node.py", PACKAGE / "cli" / "main.py"]
    assert any(is_ros(name) for name in imports_of(node_modules[0]))
    assert any(name.startswith("sam2_ros.") for name in imports_of(node_modules[1]))
