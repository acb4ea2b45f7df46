# SPDX-License-Identifier: Apache-2.0
"""Migrations of the database from one schema version to the next, run by alembic when a project is opened.

Does not know how the tables are used.
"""
