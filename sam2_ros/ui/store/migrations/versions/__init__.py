# SPDX-License-Identifier: Apache-2.0
"""One file for each schema version. A released one is never changed.

Does not know the tables of today (`schema.py`).
"""
