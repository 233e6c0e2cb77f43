"""What holds for every test: settings of the person who runs it stay out, and hypothesis does not race a clock.

Keys of all tests' hubs are opened by one passphrase, in a folder of the session.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Two cores run several brokers, agents and databases at once: a deadline would measure them, not the code.
settings.register_profile("shoal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shoal")

# Where the machine keeps programs and what CI demands; all else named SHOAL_ is somebody's own hub or device.
_KEPT = {"SHOAL_MOSQUITTO", "SHOAL_REQUIRE_PY310"}


@pytest.fixture(autouse=True, scope="session")
def _no_personal_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide `SHOAL_` settings of the shell and the operator's profile: no test reaches a real hub, device or home."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("SHOAL_") and name not in _KEPT}
    for name in hidden:
        del os.environ[name]
    own = tmp_path_factory.mktemp("operator")
    os.environ |= {"SHOAL_PASSPHRASE_FILE": str(own / "passphrase"), "SHOAL_PROFILE": str(own / "profile.json")}
    yield
    del os.environ["SHOAL_PASSPHRASE_FILE"], os.environ["SHOAL_PROFILE"]
    os.environ.update(hidden)
