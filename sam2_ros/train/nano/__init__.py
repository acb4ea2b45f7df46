# SPDX-License-Identifier: Apache-2.0
"""The recipe of nano: training from scratch on rendered clips. Does not know users' own data."""
