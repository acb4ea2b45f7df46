# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning on the user's own sequences. Knows nothing of rendered clips or of the recipe of nano."""
