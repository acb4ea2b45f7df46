# SPDX-License-Identifier: Apache-2.0
"""Builds the environment of `make`: dependencies, ROS 2 from wheels, sam2_ros_msgs, sam2_ros.

Knows nothing of what the package does. Standard library only: it runs before anything is installed. Each step
leaves a stamp with a digest of its inputs: a second run does nothing, a changed input redoes its step and
those that build on it.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "requirements.txt"
REQUIREMENTS_ROS = ROOT / "scripts" / "requirements-ros.txt"
MESSAGES = ROOT / "sam2_ros_msgs"
PACKAGING = [
    ROOT / name for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml", "sam2_ros/__init__.py")
]
COMPILED = ROOT / "sam2_ros" / "engine" / "kernels" / "cpp"
SUPPORTED = ((3, 10), (3, 13))


class EnvironmentProblem(Exception):
    """The machine lacks something: one line with the remedy."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment")
    parser.add_argument(
        "--torch", default="", help="requirement or wheel for PyTorch; empty: do not install it"
    )
    parser.add_argument("--torch-pip-args", default="", help="pip options for PyTorch alone")
    parser.add_argument("--ros", choices=["auto", "none"], default="auto", help="none: no ROS graph")
    args = parser.parse_args()
    try:
        Environment(ROOT / args.venv).build(args.torch, shlex.split(args.torch_pip_args), args.ros)
    except EnvironmentProblem as problem:
        print(f"make env: {problem}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"make env: this command failed ({error.returncode}): {shlex.join(error.cmd)}", file=sys.stderr)
        return 1
    return 0


def why_no_ros() -> str:
    """The reason why the ROS 2 wheels cannot be used on this machine; empty if they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return f"the wheels are for Linux x86-64 with glibc, this is {sys.platform} {platform.machine()}"
    return ""


def check_machine(with_ros: bool) -> None:
    """Raises EnvironmentProblem with the first requirement that is missing, before anything is downloaded."""
    low, high = SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        raise EnvironmentProblem(
            f"Python {platform.python_version()} given ({sys.executable}), 3.{low[1]} to 3.{high[1]} "
            f"expected: make env PYTHON=python3.{high[1]}"
        )
    try:
        import ensurepip  # noqa: F401  Debian leaves it out of python3
    except ImportError:
        raise EnvironmentProblem(
            f"{sys.executable} cannot make virtual environments (no ensurepip): apt install python3-venv"
        ) from None
    if not with_ros:
        return
    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            raise EnvironmentProblem(
                f"{tool} is missing, which builds sam2_ros_msgs: apt install {tool}, "
                "or without ROS: make env ROS=none"
            )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise EnvironmentProblem(
            f"{header} is missing, which builds sam2_ros_msgs: apt install python3-dev, "
            "or without ROS: make env ROS=none"
        )


def digest_of(*parts: "str | Path") -> str:
    """SHA-256 of strings, and of the names and contents of files; the files of a folder in sorted order."""
    sha = hashlib.sha256()
    for part in parts:
        paths = []
        if isinstance(part, Path):
            paths = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
        else:
            sha.update(part.encode() + b"\0")
        for path in paths:
            sha.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


class Environment:
    """A virtual environment, with a stamp for each step that is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self.stamps = path / "stamps"
        self.digests: dict[str, str] = {"": ""}  # of the steps so far, by name

    def build(self, torch: str, torch_pip_args: "list[str]", ros: str) -> None:
        no_ros = "ROS=none was given" if ros == "none" else why_no_ros()
        check_machine(with_ros=not no_ros)
        started = time.monotonic()
        done = [
            self.step("venv", "", self.create, sys.base_prefix, platform.python_version(), str(self.path)),
            self.step(
                "torch", "venv", lambda: self.install_torch(torch, torch_pip_args), torch, *torch_pip_args
            ),
            self.step("requirements", "venv", lambda: self.install_pinned(REQUIREMENTS), REQUIREMENTS),
        ]
        if no_ros:
            print(
                f"make env: without a ROS graph: {no_ros}. The live node and its tests need one; the rest works."
            )
        else:
            done.append(self.step("ros", "venv", self.install_ros, REQUIREMENTS_ROS))
            done.append(self.step("sam2_ros_msgs", "ros", self.build_messages, MESSAGES))
        done.append(self.step("sam2_ros", "venv", self.install_package, *PACKAGING, COMPILED))
        if any(done):
            print(f"make env: {self.path} is ready ({time.monotonic() - started:.0f} s)")

    def step(self, name: str, base: str, action: "Callable[[], None]", *inputs: "str | Path") -> bool:
        """Runs an action unless it ran before with these inputs on this base (an earlier step). True if it ran."""
        self.digests[name] = digest_of(self.digests[base], name, *inputs)
        stamp = self.stamps / name
        if stamp.is_file() and stamp.read_text() == self.digests[name]:
            return False
        print(f"make env: {name}", flush=True)
        stamp.unlink(missing_ok=True)  # an interrupted step must run again
        action()
        self.stamps.mkdir(exist_ok=True)
        stamp.write_text(self.digests[name])
        return True

    def create(self) -> None:
        self.call(sys.executable, "-m", "venv", "--clear", str(self.path))

    def install_torch(self, requirement: str, pip_args: "list[str]") -> None:
        if requirement:  # not quiet: it may be gigabytes, so the progress bar is useful
            self.call(str(self.python), "-m", "pip", "install", *pip_args, requirement)

    def install_pinned(self, requirements: Path) -> None:
        """Installs pinned packages; pip refuses one without a hash. PyTorch has none: its build depends on the machine.

        --no-deps: the file is complete, and pip 23.2 takes an extra of a pinned package for one that is not pinned.
        """
        self.pip("--no-deps", "--require-hashes", "-r", str(requirements))

    def install_ros(self) -> None:
        self.install_pinned(REQUIREMENTS_ROS)
        self.repair_cmake_exports()

    def repair_cmake_exports(self) -> None:
        """Replaces the paths of the wheels' builder in their CMake exports by those of this environment."""
        script = "import numpy, pathlib; print(pathlib.Path(numpy.__file__).parent)"
        numpy = subprocess.run(
            [str(self.python), "-c", script], check=True, capture_output=True, text=True
        ).stdout.strip()
        tag = f"cp3{sys.version_info.minor}"
        builder = f"/opt/python/{tag}-{tag}"
        site_packages = f"{builder}/lib/python3.{sys.version_info.minor}/site-packages"
        for export in sorted((self.path / "share").rglob("*.cmake")):
            text = export.read_text()
            if builder in text:
                text = text.replace(f"{site_packages}/numpy", numpy).replace(builder, sys.base_prefix)
                export.write_text(text)

    def build_messages(self) -> None:
        """Builds sam2_ros_msgs into the environment itself, where Python and the loader look for messages."""
        for pattern in (
            "share/sam2_ros_msgs",
            "include/sam2_ros_msgs",
            "lib/python3.*/site-packages/sam2_ros_msgs",
        ):
            for old in self.path.glob(pattern):  # removes messages that no longer exist
                shutil.rmtree(old)
        build = ROOT / "build" / "ros"
        shutil.rmtree(build, ignore_errors=True)
        self.call(
            str(self.path / "bin" / "colcon"), "--log-base", str(build / "log"), "--log-level", "error",
            "build",
            "--base-paths", str(MESSAGES), "--packages-select", "sam2_ros_msgs",
            "--build-base", str(build), "--install-base", str(self.path), "--merge-install",
            "--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={self.python}",
            env={"AMENT_PREFIX_PATH": str(self.path), "CMAKE_PREFIX_PATH": str(self.path)},
        )  # fmt: skip

    def install_package(self) -> None:
        self.pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))

    def pip(self, *arguments: str) -> None:
        """Runs pip install. Shows errors only: a private index may warn about each package that it lacks."""
        self.call(str(self.python), "-m", "pip", "install", "--quiet", "--quiet", *arguments)

    def call(self, *command: str, env: "dict[str, str] | None" = None) -> None:
        """Runs a command with the environment's programs first on the PATH; raises CalledProcessError."""
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PATH": path, **(env or {})})


if __name__ == "__main__":
    sys.exit(main())
