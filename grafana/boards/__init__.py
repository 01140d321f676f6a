"""The dashboards, one file each, in the order in which people go through them."""

from __future__ import annotations

from typing import Final

from grafana.boards import energy, overview, pipeline, quality, voc, warnings
from grafana.model import Board

BOARDS: Final[tuple[Board, ...]] = (
    overview.board(),
    warnings.board(),
    energy.board(),
    voc.board(),
    quality.board(),
    pipeline.board(),
)
