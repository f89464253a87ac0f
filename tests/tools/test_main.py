"""What becomes of errors: one line on standard error, and the exit code that is documented."""

import os
import subprocess
import sys

import click
import pytest

from xcluster.shared.errors import StoreError
from xcluster.tools import main
from xcluster.tools.main import COMMANDS, cli, run


def one_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("xcluster: ")
    assert err.count("\n") == 1
    return err


def walk(command, path=("xcluster",)):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


LEAVES = [(path, command) for path, command in walk(cli) if not isinstance(command, click.Group)]


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_help_of_every_command_has_an_example(path, command):
    assert " ".join(path) in (command.help or "")


def test_help_lists_every_command(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


MISTAKES = [
    (["config", "check", "--set", "early.window=1"], "early.window = 1: is not a key"),
    (["config", "show", "--set", "log.level=loud"], "log.level = 'loud'"),
    (["status", "--data", "/no/such/folder"], "--data = '/no/such/folder': there is no xcluster.toml"),
    (["status", "--data", "a", "--config", "b"], "give either --data or --config"),
    (["verify", "--config", "/no/such/file"], "--config = '/no/such/file': cannot be read"),
    (["start-node", "--name", "a/b"], "--name = 'a/b'"),
    (["bus", "--name", ""], "--name = ''"),
    (["up", "--nodes", "2", "--buses", "0"], "--buses = 0: several nodes need a bus"),
    (["keys", "generate", "a/b"], "NAME = 'a/b'"),
    (["user", "add", "a@b@c", "--password", "x"], "USER = 'a@b@c'"),
    (["user", "add", "alice@elsewhere.example", "--password", "x"], "this cluster serves localhost"),
    (["user", "add", "alice/phone", "--password", "x"], "USER = 'alice/phone'"),
    (["user", "add", "alice", "--password", ""], "--password = ''"),
    (["provision", "--users", "100", "--roster", "31", "--password", "x"], "--roster = 31"),
    (["no-such-command"], "No such command"),
    (["up", "--nodes", "many"], "'many' is not a valid integer"),
]


@pytest.mark.parametrize(("arguments", "text"), MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_operators_mistake_is_one_line_and_exit_code_2(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert text in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["status"], ["verify"], ["session", "list"], ["node", "list"]])
def test_nobody_answers_is_one_line_and_exit_code_1(command, capsys, tmp_path):
    (tmp_path / "xcluster.toml").write_text(f'[server]\ndata_dir = "{tmp_path}"\n')
    assert run([*command, "--data", str(tmp_path)]) == 1
    assert f"no node answers in {tmp_path / 'run'}" in one_line(capsys)


def test_store_error_is_one_line_and_exit_code_1(capsys, monkeypatch):
    @click.command()
    def broken():
        raise StoreError("the database\nis away")

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: broken)
    assert run(["user"]) == 1
    assert one_line(capsys) == "xcluster: the database is away\n"


def test_command_answers_as_a_program(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "xcluster.tools.main", "config", "check", "--set", "a.b=1"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env=os.environ,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("xcluster: a = '[section]': is not a section")
    assert ran.stderr.count("\n") == 1


def test_data_folder_of_the_current_place_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xcluster-data").mkdir()
    (tmp_path / "xcluster-data" / "xcluster.toml").write_text('[server]\ndomain = "here.example"\n')
    assert run(["config", "check"]) == 0
    assert capsys.readouterr().out == "fine: here.example, 1 settings differ from the defaults\n"


def test_shown_configuration_can_be_read_again(tmp_path, capsys):
    settings = ["--set", 'server.domain=a"b\\c.example', "--set", "early.window_ms=800"]
    assert run(["config", "show", "--changed", *settings]) == 0
    file = tmp_path / "again.toml"
    file.write_text(capsys.readouterr().out)
    assert run(["config", "show", "--changed", "--config", str(file)]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert "window_ms = 800" in file.read_text()
