# SPDX-License-Identifier: Apache-2.0
"""Training batches from annotated sequences: opening, sampling, augmenting. Knows no losses or models."""
