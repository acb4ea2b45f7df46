# SPDX-License-Identifier: Apache-2.0
"""The recipe of nano: trained from scratch on rendered clips. Knows nothing of the users' own data."""
