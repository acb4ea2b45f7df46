"""The node's parameters as they are now, for parts that read them at the time of use. Knows not who keeps them."""

from __future__ import annotations

from typing import Protocol

from .parameters.params import NodeParams


class Settings(Protocol):
    """Whoever keeps the parameters."""

    @property
    def used(self) -> NodeParams:
        """The values that count now; another object whenever one of them changes."""
        ...
