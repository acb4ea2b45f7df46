# SPDX-License-Identifier: Apache-2.0
"""Objects that outlive the node: autosave, restart, and the services of states and enrolment."""
