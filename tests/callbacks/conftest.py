import pytest

from lightning_ras2s.unessential import warn_once


@pytest.fixture(autouse=True)
def forget_warnings():
    """What one test was warned of, the next is warned of again."""
    warn_once.cache_clear()
