"""What kind of machine it is, by what Linux tells of its processor."""

from pathlib import Path

import pytest

from shoal_compression.machine import machine_kind


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ("processor : 0\nflags : fpu avx2 avx512f avx512_vnni sse\n", ("avx2", "avx512_vnni", "avx512f")),
        ("processor : 0\nFeatures : fp asimd asimddp\n", ("asimddp",)),
        ("processor : 0\n", ()),
    ],
)
def test_the_flags_that_choose_kernels_are_told(told: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert machine_kind(tmp_path / "cpuinfo").flags == flags
    assert machine_kind(tmp_path / "none").flags == ()
    assert machine_kind(tmp_path / "none").architecture
