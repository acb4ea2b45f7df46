# SPDX-License-Identifier: Apache-2.0
"""`python -m sam2_ros.cli`: the same as `sam2-ros`."""

from .main import main

main()
