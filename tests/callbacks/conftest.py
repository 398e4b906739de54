import pytest

from lightning_ras2s.runs.best_effort import warn_once


@pytest.fixture(autouse=True)
def forget_warnings():
    """What one test was warned of, the next is warned of again."""
    warn_once.cache_clear()
