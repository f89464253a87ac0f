"""The `xcluster` command: its groups, and what becomes of errors.

Exit codes: 0 it is as you wished; 1 it failed, or things differ; 2 the command line or the configuration has
to be mended first. An error is one line on standard error, never a traceback.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from xcluster.shared.errors import ConfigError, XclusterError

COMMANDS = {  # in the order of the help; a module is imported when its command is used
    "up": "up:up",
    "bus": "serve:bus",
    "start-node": "serve:start_node",
    "user": "user:user",
    "provision": "provision:provision",
    "status": "status:status",
    "verify": "verify:verify",
    "session": "session:session",
    "node": "node:node",
    "config": "config:config",
    "cert": "cert:cert",
    "keys": "keys:keys",
    "store": "store:store",
}


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for: a node need not carry the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(f"xcluster.tools.{module}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xcluster", message="xcluster %(version)s")
def cli() -> None:
    """A clustered XMPP server for one domain.

    \b
    A cluster on this machine, users, a look at it:
      xcluster up --nodes 3 --data DIR --domain example.org
      xcluster user add --data DIR alice
      xcluster status --data DIR

    Commands take --data DIR (a cluster made by `xcluster up`) or --config FILE; without either they take
    ./xcluster-data, where there is one. Exit codes: 0 fine, 1 failed or differs, 2 mend the command or the
    configuration.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        code = cli.main(args=list(arguments), prog_name="xcluster", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else error.format_message(), file=sys.stderr)
        return 2
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(f"{error.format_message()}{hint}", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except ConfigError as error:
        return _fail(str(error), 2)
    except XclusterError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        return _fail("aborted", 130)


def _fail(message: str, code: int) -> int:
    print(f"xcluster: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
