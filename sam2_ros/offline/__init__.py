# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros track` and `segment`: one source through a model into a result folder. Knows no command line."""
