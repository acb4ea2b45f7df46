# SPDX-License-Identifier: Apache-2.0
"""Draws rendered clips with torch, on the device that trains.

Does not know how a clip is chosen: `synthetic` makes the descriptions and draws the reference.
"""
