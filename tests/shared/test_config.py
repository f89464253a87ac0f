"""conf/xcluster.toml shows every key with its default; mistakes are named with key, value and mend."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from xcluster.shared.config import Config, check, is_loopback, keys, load
from xcluster.shared.errors import ConfigError

SHOWN = Path(__file__).parents[2] / "conf" / "xcluster.toml"


def test_file_shows_every_key_in_order():
    tables = tomllib.loads(SHOWN.read_text("utf-8"))
    assert [(section, key) for section, table in tables.items() for key in table] == list(keys())


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_file_shows_the_default(section, key):
    shown = tomllib.loads(SHOWN.read_text("utf-8"))[section][key]
    default = getattr(getattr(Config(), section), key)
    assert (shown, type(shown)) == (default, type(default))


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_file_explains_every_key(section, key):
    lines = SHOWN.read_text("utf-8").splitlines()
    start = lines.index(f"[{section}]")
    place = next(n for n in range(start, len(lines)) if lines[n].startswith(f"{key} ="))
    assert lines[place - 1].startswith("# ")


def test_defaults_are_valid():
    check(Config())


def test_setting_lies_over_file(tmp_path):
    file = tmp_path / "xcluster.toml"
    file.write_text('[early]\nattempts = 3\nwindow_ms = 300\n[server]\ndomain = "a.example"\n')
    config = load(file, ["early.window_ms=800", "server.domain=b.example", "limits.enabled=false"])
    assert (config.early.attempts, config.early.window_ms) == (3, 800)
    assert config.server.domain == "b.example"
    assert config.limits.enabled is False


def test_setting_takes_toml_values_and_bare_words():
    config = load(None, ['c2s.listen=["127.0.0.1:0"]', "log.level=debug", "store.url=postgresql://u@h/d?a=b"])
    assert config.c2s.listen == ["127.0.0.1:0"]
    assert config.log.level == "debug"
    assert config.store_url == "postgresql://u@h/d?a=b"


MISTAKES = [
    ("early.window=800", "early.window", "800", "is not a key"),
    ("erly.window_ms=800", "erly", "'[section]'", "is not a section"),
    ("early.window_ms=soon", "early.window_ms", "'soon'", "Expected `int`"),
    ("early.window_ms=-1", "early.window_ms", "-1", "must not be negative"),
    ("window_ms=800", "--set", "'window_ms=800'", "section.key=value"),
    ("early.window_ms", "--set", "'early.window_ms'", "section.key=value"),
    ("server.domain=", "server.domain", "''", "must name a domain"),
    ("sasl.iterations=100", "sasl.iterations", "100", "at least 4096"),
    ("cluster.suspect_s=9", "cluster.suspect_s", "9", "below cluster.dead_s"),
    ("cluster.heartbeat_ms=900", "cluster.heartbeat_ms", "900", "fit twice"),
    ("tls.key=key.pem", "tls.key", "'key.pem'", "go together"),
    ("bus.listen=5400", "bus.listen", "5400", "Expected `str`"),
    ("bus.listen=localhost:5400", "bus.listen", "'localhost:5400'", "tcp://HOST:PORT or ipc://PATH"),
    ('bus.endpoints=["udp://x"]', "bus.endpoints", "'udp://x'", "tcp://HOST:PORT or ipc://PATH"),
    ('c2s.listen=["5222"]', "c2s.listen", "'5222'", "HOST:PORT"),
    ('c2s.listen_tls=["0.0.0.0:99999"]', "c2s.listen_tls", "'0.0.0.0:99999'", "HOST:PORT"),
    ("admin.listen=8080x", "admin.listen", "'8080x'", "HOST:PORT"),
    ("store.url=mysql://h/d", "store.url", "'mysql://h/d'", "sqlite:PATH or postgresql://"),
    ("log.level=loud", "log.level", "'loud'", "Invalid enum value"),
]


@pytest.mark.parametrize(("setting", "key", "value", "mend"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistake_is_named_with_key_value_and_mend(setting, key, value, mend):
    with pytest.raises(ConfigError) as caught:
        load(None, [setting])
    line = str(caught.value)
    assert line.startswith(f"{key} = {value}")
    assert mend in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("[early\n", "is not valid TOML"),
        ("early = 3\n", "is a section"),
        ("[early]\nnope = 1\n", "is not a key"),
    ],
)
def test_mistake_in_the_file_is_named(tmp_path, text, mend):
    file = tmp_path / "xcluster.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=mend):
        load(file)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp://127.0.0.1:5400", True),
        ("ipc:///run/b1", True),
        ("127.0.0.1:5222", True),
        ("[::1]:5222", True),
        ("localhost:5222", True),
        ("0.0.0.0:5222", False),
        ("tcp://10.0.0.1:5400", False),
        ("[::]:5222", False),
    ],
)
def test_loopback_is_told_from_the_network(endpoint, expected):
    assert is_loopback(endpoint) is expected


def test_every_section_refuses_unknown_keys():
    for field in msgspec.structs.fields(Config):
        with pytest.raises(ConfigError, match=f"{field.name}.no_such_key"):
            load(None, [f"{field.name}.no_such_key=1"])
