"""The console of a local system, as a part of it: `python -m cli.console PORT STATE_FOLDER`."""

import sys
from pathlib import Path

from cli.console.serving import kept_key, serving
from local.state_dir import StateDir
from statemachine.bootstrap import bootstrap

if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    with serving(bootstrap(), StateDir(folder), port, kept_key(folder)) as (server, _):
        server.serve_forever()
