# SPDX-License-Identifier: Apache-2.0
"""Effects on frames with masks, and movies of them with the sound of the source.

Does not know sessions, projects or HTTP.
"""
