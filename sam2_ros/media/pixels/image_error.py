# SPDX-License-Identifier: Apache-2.0
"""The error of a picture that cannot be shown as RGB.

Knows nothing of pictures; the modules that read them share it.
"""

from sam2_ros.errors import UserError


class ImageError(UserError):
    """A picture that cannot be shown as RGB: unknown encoding, damaged bytes, or bytes that do not fit its sizes."""
