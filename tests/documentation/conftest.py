import pytest

from tests.documentation.miniature import Miniature


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """Shared by the commands, each of which runs by itself."""
    return Miniature(tmp_path_factory.mktemp("clone"))
