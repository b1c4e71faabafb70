"""`console`: the web console on this machine, with one's own credentials."""

import threading
import webbrowser
from typing import Annotated

import typer

from cli.commands.system import stop_on_signals
from cli.connection import application, local_home
from cli.output import console as terminal


def console(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on loopback; a free one if not given.")] = 0,
    only_print: Annotated[bool, typer.Option("--print", help="Print the address, open no browser.")] = False,
) -> None:
    """Serve the web console on 127.0.0.1 until Ctrl-C: runs, reports, approvals, rollbacks, with your AWS credentials.

    The address has a key in it: whoever has the key acts in your name. Example: `fraudloop console`
    """
    from cli.console.serving import serving  # the other commands do not pay for the templates

    home, app, stopped = local_home(), application(), stop_on_signals()
    with serving(app, home, port) as (server, address):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        terminal.print(f"the console is at {address}", soft_wrap=True)
        if not only_print:
            webbrowser.open(address)
        stopped.wait()
        server.shutdown()
        thread.join(5)
    terminal.print("stopped")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="People")(console)
