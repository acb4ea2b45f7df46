# SPDX-License-Identifier: Apache-2.0
"""How attention is computed fast: on CPUs, on GPUs, by PyTorch. Only prepare.py knows the boxes that call it."""
