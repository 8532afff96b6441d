"""OpenBLAS is told about the one processor family that it misdetects, and about no other."""

import pytest

from layerscout.processor import AVX512, name_core_type


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "said"),
    [
        ("AuthenticAMD", 26, AVX512, "SkylakeX"),
        ("AuthenticAMD", 26, AVX512 - {"avx512vl"}, None),
        ("AuthenticAMD", 25, AVX512, None),
        ("GenuineIntel", 26, AVX512, None),
    ],
)
def test_only_zen5_with_avx512_is_named(tmp_path, monkeypatch, vendor, family, flags, said) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    core = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu {' '.join(flags)}\n"
    (tmp_path / "cpuinfo").write_text(core + "\n" + core)
    name_core_type(tmp_path / "cpuinfo")
    import os

    assert os.environ.get("OPENBLAS_CORETYPE") == said
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)


def test_the_users_word_stands_and_a_missing_file_is_no_error(tmp_path, monkeypatch) -> None:
    import os

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    name_core_type()
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    name_core_type(tmp_path / "nothing")
    assert "OPENBLAS_CORETYPE" not in os.environ
