# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval`: scores tracking on annotated sequences and segmentation on annotated photographs.

Knows no command line; `datasets` opens the datasets.
"""
