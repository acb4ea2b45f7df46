# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros track`, `segment`, `enroll`: one source through a model into a folder or a file. Knows no command line."""
