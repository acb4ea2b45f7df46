# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning on the user's own sequences. Does not know rendered clips or the recipe of nano."""
