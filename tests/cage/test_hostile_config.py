"""Whatever a configuration file holds, it ends in a configuration or in one message, and soon."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.cage.config import CageConfig
from toolkit.cage.config_file import MOST_BYTES, load_cages
from toolkit.errors import ConfigError

UNSAID = "without the file, or at great length"
TABLES = list(CageConfig.model_fields)
KEYS = sorted({key for name in TABLES for key in CageConfig.model_fields[name].annotation.model_fields})  # type: ignore[union-attr]

values = st.recursive(
    st.one_of(
        st.sampled_from(
            ["true", "nan", "-inf", "1979-05-27", "07:32:00", "0x10", "''", '"a\\u0000b"', '"\\n"', '"~x/y"']
        ),
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.sampled_from(["a.mp4", "127.0.0.1:1", "[::1]:99999", "::", "é", "auto", "a1"]).map(lambda text: f"'{text}'"),
        st.text(alphabet=st.characters(codec="utf-8"), max_size=12).map(lambda text: f'"{text}"'),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=4,
)
headers = st.one_of(
    st.sampled_from(TABLES),
    st.sampled_from(TABLES).map(lambda name: f"defaults.{name}"),
    st.tuples(st.sampled_from(["a1", "a2", '"b\\u0000"', "'x y'", "_"]), st.sampled_from(TABLES)).map(
        lambda pair: f"cages.{pair[0]}.{pair[1]}"
    ),
    st.sampled_from(["cages", "defaults", "cages.a1", "[cages.a1.camera]", "[cage]", "cage.name", "camera.video.x"]),
)
lines = st.one_of(
    headers.map(lambda header: f"[{header}]"),
    st.tuples(st.sampled_from([*KEYS, "cage.name", "camera.video", '"\\u0000"']), values).map(
        lambda kv: f"{kv[0]} = {kv[1]}"
    ),
)


def ended(raw: bytes) -> str:
    """Return the message, or nothing where the file is a configuration; anything else that is raised fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cage.toml"
        path.write_bytes(raw)
        try:
            cages = load_cages(path)
        except ConfigError as error:
            return str(error) if str(path) in str(error) and len(str(error)) < 50_000 else UNSAID
        assert cages
        assert all(name == config.cage.name and config.sha256() for name, config in cages.items())
        return ""


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines, max_size=14).map("\n".join))
def test_toml_that_is_nearly_a_configuration(text: str) -> None:
    assert ended(text.encode()) != UNSAID


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_bytes(raw: bytes) -> None:
    assert ended(raw) not in ("", UNSAID)


HOSTILE = {
    "zeros": (b"\x00" * 100, "not TOML"),
    "a program": (b"\x7fELF\x02\x01\xff\xfe", "cannot be read"),
    "arrays in arrays": (b"a = " + b"[\n" * 50_000, "not a configuration"),
    "tables in tables": (b"a = " + b"[{b = \n" * 20_000, "not TOML"),
    "dots": (b"a." * 900 + b"a = 1", "tables within tables"),
    "dots without end": (b"a." * 100_000 + b"a = 1", "a line of 200005 characters"),
    "many long lines": (b"\n".join(b"a%d." % n + b"a." * 900 + b"a = 1" for n in range(60)), "tables within tables"),
    "headers": (b"[" + b"a." * 900 + b"a]", "tables within tables"),
    "digits": (b"a = [" + b",\n".join([b"9" * 1_900] * 100) + b"]", "unknown table"),
    "a key twice": (b"[cage]\nname = 'a1'\nname = 'a2'\n", "not TOML: Cannot overwrite a value"),
    "a table twice": (b"[cage]\n[cage]\n", "not TOML: Cannot declare"),
    "a zero in a text": (b'[cage]\nname = "a\\u0000b"\n', "cage.name: holds a zero character"),
    "nobody's home": (b"[camera]\nvideo = '~nobody-of-that-name/a.mp4'\n", "no such user's home"),
    "a long key": (b"x" * 1_900 + b" = 1", "unknown table"),
    "many keys": (b"\n".join(b"k%d = 1" % n for n in range(20_000)), "and more"),
    "many cages": (b"[defaults.camera]\n" + b"\n".join(b"[cages.c%d]\nk = 1" % n for n in range(3_000)), "and more"),
    "a big file": (b"#\n" * MOST_BYTES, "over 256 KiB"),
}


@pytest.mark.parametrize(("raw", "words"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_configuration(raw: bytes, words: str) -> None:
    begun_s = time.process_time()
    assert words in ended(raw)
    # Generous, and far below what it would cost to look at everything.
    assert time.process_time() - begun_s < 20


def test_a_file_that_never_ends() -> None:
    with pytest.raises(ConfigError, match="over 256 KiB"):
        load_cages(Path("/dev/zero"))
