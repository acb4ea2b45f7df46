# SPDX-License-Identifier: Apache-2.0
"""The error for images that cannot be converted to RGB.

Knows nothing of images; the modules that read them share it.
"""

from sam2_ros.errors import UserError


class ImageError(UserError):
    """An image cannot be converted to RGB: unknown encoding, damaged bytes, or bytes that do not fit its size."""
