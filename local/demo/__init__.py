"""The demo: the whole loop on this machine, with good and bad data, a useless model, and a failing deployment."""

from local.demo.run import run_demo

__all__ = ["run_demo"]
