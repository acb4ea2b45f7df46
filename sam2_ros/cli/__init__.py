# SPDX-License-Identifier: Apache-2.0
"""The command line, `sam2-ros`. Knows how options are written and results are shown, and nothing else."""

from .main import run

__all__ = ["run"]
