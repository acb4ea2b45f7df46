# SPDX-License-Identifier: Apache-2.0
"""Prepares a release: writes a version to every file that has it, and its date to both changelogs.

Does not run git. catkin_prepare_release cannot be used: it does not find a package inside a package.
"""

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = r"\d+\.\d+\.\d+"
PLACES = {
    "sam2_ros/__init__.py": rf'(?m)^(__version__ = "){VERSION}(")$',  # setup.py reads it there
    "package.xml": rf"(<version>){VERSION}(</version>)",
    "sam2_ros_msgs/package.xml": rf"(<version>){VERSION}(</version>)",
}
CHANGELOGS = ("CHANGELOG.rst", "sam2_ros_msgs/CHANGELOG.rst")
FORTHCOMING = "Forthcoming\n-----------\n"


class NotPrepared(Exception):
    """A release cannot be prepared: one line with the reason and the remedy. Nothing has been written."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", help="MAJOR.MINOR.PATCH, greater than the current one")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the clone")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="YYYY-MM-DD (today)")
    args = parser.parse_args()
    try:
        for path, text in prepared(args.root, args.version, args.date).items():
            path.write_text(text, "utf-8")
            print(path.relative_to(args.root))
    except NotPrepared as problem:
        print(f"set_version: {problem}", file=sys.stderr)
        return 2
    return 0


def prepared(root: Path, version: str, date: str) -> "dict[Path, str]":
    """The files to write with their new text. Raises NotPrepared."""
    if not re.fullmatch(VERSION, version):
        raise NotPrepared(f"version '{version}': expected MAJOR.MINOR.PATCH, such as 0.2.0")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
        raise NotPrepared(f"date '{date}': expected YYYY-MM-DD")
    texts = {}
    for name, pattern in PLACES.items():
        text = (root / name).read_text("utf-8")
        found = re.findall(pattern.replace(VERSION, f"({VERSION})"), text)
        if len(found) != 1:
            raise NotPrepared(f"{name}: {len(found)} versions found, 1 expected that matches {pattern}")
        present = found[0][1]
        if numbers(version) <= numbers(present):
            raise NotPrepared(f"version {version}: {name} has {present} already, expected a greater one")
        texts[root / name] = re.sub(pattern, rf"\g<1>{version}\g<2>", text)
    for name in CHANGELOGS:
        texts[root / name] = released((root / name).read_text("utf-8"), version, date)
    return texts


def numbers(version: str) -> "tuple[int, ...]":
    return tuple(int(part) for part in version.split("."))


def released(changelog: str, version: str, date: str) -> str:
    """The changelog with "Forthcoming" renamed to the release; without one, with a section that has no changes."""
    title = f"{version} ({date})"
    heading = f"{title}\n{'-' * len(title)}\n"
    if FORTHCOMING in changelog:
        return changelog.replace(FORTHCOMING, heading, 1)
    top = re.match(r"\^+\n.+\n\^+\n\n", changelog)
    if top is None:
        raise NotPrepared("a changelog must begin with its title between two lines of ^")
    return f"{top[0]}{heading}* No changes: released with the other package.\n\n{changelog[top.end() :]}"


if __name__ == "__main__":
    sys.exit(main())
