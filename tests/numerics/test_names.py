"""The package's names come from its parts when they are asked for."""

import pytest

import shoal_numerics


@pytest.mark.parametrize("name", shoal_numerics.__all__)
def test_each_name_is_found(name: str) -> None:
    assert getattr(shoal_numerics, name) is not None


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        shoal_numerics.nothing_like_it  # noqa: B018 - asked for
