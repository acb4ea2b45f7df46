# SPDX-License-Identifier: Apache-2.0
"""Fast attention and linear layers on CPUs and GPUs. Only prepare.py knows the model's modules that call them."""
