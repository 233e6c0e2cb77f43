"""The pages of docs/reference/ are what the code says today."""

import pytest
from scripts.docs_reference import PAGES, REFERENCE


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_reference_page_is_the_one_that_the_code_gives(name: str) -> None:
    """When this fails: `python scripts/docs_reference.py`, and look at what changed."""
    assert (REFERENCE / name).read_text() == PAGES[name]()


def test_there_is_no_page_that_no_code_gives() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == set(PAGES)
