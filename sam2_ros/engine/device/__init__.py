# SPDX-License-Identifier: Apache-2.0
"""Device-dependent parts: transfers to a device, timing of stages, CUDA graphs. Knows nothing of the model."""
