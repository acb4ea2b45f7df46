# SPDX-License-Identifier: Apache-2.0
"""The command line, `sam2-ros`. Knows only how options are written and how results are shown."""

from .main import run

__all__ = ["run"]
