"""CURVE keys and their files."""

import stat

import zmq

from xcluster.tools.keys import write_keys
from xcluster.tools.main import run


def test_public_key_belongs_to_the_secret_key(tmp_path):
    public, secret = write_keys(tmp_path / "keys", "bus")
    assert zmq.curve_public(secret.read_bytes().strip()) == public.read_bytes().strip()
    assert len(public.read_bytes().strip()) == 40


def test_secret_is_private(tmp_path):
    _, secret = write_keys(tmp_path / "keys", "bus")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700


def test_command_makes_a_pair_for_every_name(tmp_path, capsys):
    assert run(["keys", "generate", "--out", str(tmp_path), "bus", "n1", "n2"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "bus.public", "bus.secret", "n1.public", "n1.secret", "n2.public", "n2.secret",
    ]  # fmt: skip
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 6


def test_files_are_replaced_only_by_force(tmp_path, capsys):
    command = ["keys", "generate", "--out", str(tmp_path), "bus"]
    assert run(command) == 0
    first = (tmp_path / "bus.secret").read_bytes()
    assert run(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "bus.secret").read_bytes() == first
    assert run([*command, "--force"]) == 0
    assert (tmp_path / "bus.secret").read_bytes() != first
