"""Every piece of Python that README and docs show, run where a stranger would run it."""

import pytest

from tests.documentation.pages import blocks

pytestmark = pytest.mark.docs

RUN_ELSEWHERE = {  # their code is put into the miniature, whose commands use it
    "add-a-network.md",
    "add-a-dataset.md",
}


@pytest.mark.parametrize(
    "shown", [b for b in blocks("python") if b.page not in RUN_ELSEWHERE], ids=lambda b: b.page
)
def test_a_snippet_runs_as_it_stands(clone, shown):
    done = clone.run_python(shown.text)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
