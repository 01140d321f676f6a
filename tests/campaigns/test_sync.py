"""The campaign of acknowledgements seen by strace, small: none goes before its fdatasync."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.campaigns import sync


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_acknowledgement_follows_an_fdatasync(tmp_path: Path) -> None:
    figures = sync.campaign(tmp_path, random.randrange(10**6), messages=30)
    assert figures["without_sync"] == 0
    assert figures["without_sync_when_off"] >= 30
