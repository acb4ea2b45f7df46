# SPDX-License-Identifier: Apache-2.0
"""What depends on where a model runs: transfers, timing of stages, CUDA graphs. Knows nothing of the model."""
