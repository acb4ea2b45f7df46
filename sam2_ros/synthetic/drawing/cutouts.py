# SPDX-License-Identifier: Apache-2.0
"""Outlines of real things in the free photographs: people, a cat, a helmet, a rocket, a cup, a horse.

Does not know how a cut-out is shaded, placed or moved. Traced for this project (by hand, GrabCut).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .textures import PHOTOGRAPHS, Split


@dataclass(frozen=True)
class Cutout:
    """A thing in one photograph, with its outline in pixels of the file."""

    file: str
    outline_xy: np.ndarray  # [n, 2] float
    shape_only: bool = False  # the file is a silhouette: it has an outline but no texture


def cutouts(split: Split, textured: bool) -> list[Cutout]:
    """Return the cut-outs of one split; `textured` leaves out those with an outline only."""
    files = {photo.file for photo in PHOTOGRAPHS if photo.split == split}
    return [c for c in CUTOUTS if c.file in files and not (textured and c.shape_only)]


def _xy(numbers: str) -> np.ndarray:
    return np.array(numbers.split(), float).reshape(-1, 2)


CUTOUTS: tuple[Cutout, ...] = (
    Cutout(  # astronaut
        "astronaut.png",
        _xy(
            "261 18 215 14 178 31 159 52 152 82 161 116 180 128 187 144 161 148 138 159 127 171 121 183 "
            "119 204 113 202 113 205 90 227 76 235 65 246 44 282 39 306 26 342 25 374 20 386 25 478 29 "
            "493 37 502 39 511 67 511 69 506 93 504 97 511 104 511 112 501 162 502 174 506 175 511 228 "
            "511 230 505 240 502 248 504 251 511 256 511 258 500 281 501 289 470 304 453 305 436 317 403 "
            "319 374 332 357 333 304 344 292 344 270 331 253 304 234 301 220 288 197 262 172 265 141 295 "
            "111 302 80 290 42"
        ),
    ),
    Cutout(  # face
        "astronaut.png",
        _xy(
            "261 18 215 14 178 31 159 52 152 82 161 116 163 119 180 128 187 143 196 183 261 176 265 141 "
            "274 130 295 111 302 80 291 44"
        ),
    ),
    Cutout(  # helmet
        "astronaut.png",
        _xy(
            "300 392 290 417 283 485 290 511 502 511 502 464 492 445 482 410 456 372 418 349 371 345 327 360"
        ),
    ),
    Cutout(  # cameraman
        "camera.png",
        _xy(
            "250 80 239 79 219 68 192 69 178 80 171 80 171 90 164 97 161 106 150 107 130 125 116 125 77 "
            "142 59 164 30 216 18 227 16 236 5 251 5 496 17 511 89 511 92 500 135 500 139 511 150 511 148 "
            "423 141 380 191 318 200 299 212 296 220 301 262 305 287 287 289 262 296 263 296 277 303 274 "
            "299 256 302 230 314 225 323 211 324 201 331 194 330 176 320 165 324 141 289 142 281 148 269 "
            "148 267 140 258 140 257 131 269 128 269 112 250 88"
        ),
    ),
    Cutout(  # cat
        "chelsea.png",
        _xy(
            "45 0 35 61 20 101 40 169 46 216 87 241 202 281 236 290 272 274 308 247 341 214 366 172 375 "
            "119 365 84 385 41 400 0"
        ),
    ),
    Cutout(  # rocket
        "rocket.jpg",
        _xy(
            "313 138 311 144 311 185 314 188 314 203 310 204 311 351 308 354 308 378 312 379 313 406 330 "
            "406 330 242 334 241 334 230 330 228 330 214 332 212 330 206 330 189 333 185 333 145 330 138"
        ),
    ),
    Cutout(  # saucer
        "coffee.png",
        _xy(
            "308 18 277 17 253 21 231 29 206 44 187 64 178 79 174 91 133 116 101 149 87 172 78 198 75 217 "
            "77 250 86 277 101 303 126 330 147 346 177 362 208 373 251 381 291 382 338 375 379 361 414 "
            "341 445 313 461 291 476 254 479 235 479 217 476 198 467 172 453 149 442 136 416 113 428 95 "
            "430 72 420 66 411 78 404 97 395 73 385 59 371 45 348 30 330 23"
        ),
    ),
    Cutout(  # horse
        "horse.png",
        _xy(
            "358 9 350 19 350 9 339 19 313 22 296 30 273 50 249 80 229 89 202 93 181 93 127 82 101 82 76 "
            "88 49 90 36 96 25 110 18 143 19 229 21 235 22 229 24 229 24 244 25 245 27 238 30 251 33 250 "
            "34 245 35 248 39 244 48 210 51 122 57 105 61 100 64 101 56 119 55 134 57 148 67 178 68 190 "
            "63 203 50 220 49 267 44 291 52 295 52 304 57 309 63 311 73 309 72 304 57 285 58 254 68 229 "
            "78 215 90 204 92 207 89 216 89 224 98 243 104 284 112 291 115 300 118 303 130 304 133 301 "
            "118 284 108 258 108 236 112 213 119 191 128 172 135 166 163 179 181 184 248 188 250 190 251 "
            "212 245 294 249 298 250 307 252 309 268 307 259 296 256 289 256 263 262 248 266 297 270 301 "
            "274 312 290 311 290 307 274 292 271 277 272 264 279 239 281 223 292 186 304 169 309 124 315 "
            "111 324 75 327 70 352 80 360 87 367 100 370 102 373 100 380 100 388 88 388 84 370 52 365 36 "
            "354 24 357 19"
        ),
        shape_only=True,
    ),
)
