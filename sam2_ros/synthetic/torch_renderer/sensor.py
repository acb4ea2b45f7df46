# SPDX-License-Identifier: Apache-2.0
"""Simulates the sensor of a camera on drawn frames, on their device: blur, noise, exposure flicker, JPEG artefacts.

Does the same as `synthetic.sensor` with OpenCV, with other random numbers. Knows nothing of scenes or masks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.synthetic.sensor import NOISE_GAIN, NOISE_SIGMA_PX, Sensor

# ITU-T T.81, tables K.1 and K.2: quantisation steps of brightness and colour at quality 50, row by row.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
# ITU-T T.871: red, green, blue -> brightness and two colour differences.
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def expose(sensor: Sensor, frames_t3hw: torch.Tensor, seed: int) -> torch.Tensor:
    """Apply the sensor's faults to frames ([t, 3, h, w] uint8); `seed` sets flicker and noise."""
    device = frames_t3hw.device
    generator = torch.Generator(device).manual_seed(seed)
    frames = frames_t3hw.float()
    if sensor.blur_px > 1:
        frames = _blurred(frames, torch.tensor([0.25, 0.5, 0.25], device=device)).round_()
    if sensor.flicker:
        frames *= 1 + sensor.flicker * torch.randn(len(frames), 1, 1, 1, device=device, generator=generator)
    if sensor.noise:
        noise = torch.randn(frames.shape, device=device, generator=generator)
        frames += sensor.noise * NOISE_GAIN * _blurred(noise, _gaussian(NOISE_SIGMA_PX, device))
    frames = frames.round_().clamp_(0, 255)
    if sensor.jpeg_quality:
        frames = jpeg(frames, sensor.jpeg_quality)
    return frames.to(torch.uint8)


def jpeg(frames_t3hw: torch.Tensor, quality: int) -> torch.Tensor:
    """Compress frames (float32, 0..255) as JPEG of this quality (1..100), colour at half size, and decode them.

    Red and blue are swapped inside, as OpenCV compresses the reference's frames as blue, green, red.
    """
    height, width = frames_t3hw.shape[2:]
    # Blocks of colour cover 16 pixels; incomplete blocks repeat the border.
    padded = F.pad(frames_t3hw, (0, -width % 16, 0, -height % 16), mode="replicate")
    to_ycc, to_rgb = (
        torch.tensor(matrix, dtype=torch.float32, device=frames_t3hw.device)
        for matrix in (_TO_YCC[:, ::-1].copy(), np.linalg.inv(_TO_YCC[:, ::-1]))
    )
    ycc = torch.einsum("dc,tchw->tdhw", to_ycc, padded)
    luma = _quantised(ycc[:, :1] - 128, _LUMA, quality) + 128
    chroma = _quantised(F.avg_pool2d(ycc[:, 1:], 2), _CHROMA, quality)
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    rgb = torch.einsum("dc,tchw->tdhw", to_rgb, torch.cat([luma, chroma], dim=1))
    return rgb[:, :, :height, :width].round().clamp_(0, 255)


def _quantised(planes_tchw: torch.Tensor, table: tuple[int, ...], quality: int) -> torch.Tensor:
    """Round the cosine coefficients of each 8 x 8 block to multiples of the table's, scaled as in libjpeg."""
    device = planes_tchw.device
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = torch.tensor(table, device=device).view(8, 8).mul(scale).add(50).div(100, rounding_mode="floor")
    steps = steps.clamp(1, 255).float()
    k = torch.arange(8, device=device, dtype=torch.float32)
    waves = torch.cos((2 * k + 1) * k[:, None] * (np.pi / 16)) / 2  # orthonormal: row u is wave u
    waves[0] /= 2**0.5
    blocks = planes_tchw.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # [t, c, H/8, W/8, 8, 8]
    kept = (waves @ blocks @ waves.T / steps).round_() * steps
    return (waves.T @ kept @ waves).transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _blurred(images_tchw: torch.Tensor, kernel_3: torch.Tensor) -> torch.Tensor:
    """Filter with three taps along x and y, reflected at the centres of the border pixels."""
    h, w = images_tchw.shape[2:]
    padded = F.pad(images_tchw, (1, 1, 1, 1), mode="reflect")
    rows = sum(kernel_3[i] * padded[:, :, i : i + h] for i in range(3))
    assert isinstance(rows, torch.Tensor)
    columns = sum(kernel_3[i] * rows[..., i : i + w] for i in range(3))
    assert isinstance(columns, torch.Tensor)
    return columns


def _gaussian(sigma_px: float, device: torch.device) -> torch.Tensor:
    """Return three taps of a Gaussian, [3]."""
    taps = torch.exp(-0.5 * (torch.arange(-1, 2, device=device) / sigma_px) ** 2)
    return taps / taps.sum()
