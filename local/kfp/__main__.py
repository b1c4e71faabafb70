"""`python -m local.kfp --state DIR --port P`: the embedded KFP endpoint until Ctrl-C or SIGTERM."""

import argparse
import signal
import threading

from local.kfp.server import EmbeddedKFP


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local.kfp", description="The embedded KFP endpoint.")
    parser.add_argument("--state", required=True, help="folder for state, logs and artifacts")
    parser.add_argument("--port", type=int, default=8888, help="0 takes a free one")
    parser.add_argument("--root", default="", help="pipeline root shown in runs")
    parser.add_argument("--parallelism", type=int, default=4, help="runs at once; what is beyond waits its turn")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedKFP(arguments.state, arguments.port, root=arguments.root, parallelism=arguments.parallelism) as server:
        print(f"KFP listens on {server.url}; logs are under {server.state}/runs", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
