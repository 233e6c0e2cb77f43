"""The package's names come from its parts when they are asked for."""

import subprocess
import sys
from types import ModuleType

import pytest

import shoal_numerics


@pytest.mark.parametrize("name", shoal_numerics.__all__)
def test_each_name_is_found(name: str) -> None:
    assert not isinstance(getattr(shoal_numerics, name), ModuleType)


def test_no_module_takes_the_place_of_a_name() -> None:
    script = (
        "import pkgutil, types, shoal_numerics\n"
        "parts = [one.name for one in pkgutil.iter_modules(shoal_numerics.__path__)]\n"
        "for part in parts: __import__(f'shoal_numerics.{part}')\n"
        "names = shoal_numerics.__all__\n"
        "print([name for name in names if isinstance(getattr(shoal_numerics, name), types.ModuleType)])"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        shoal_numerics.nothing_like_it  # noqa: B018 - asked for
