"""Handlers that do what handlers do wrong."""

import os
import time


def echo(event, context):
    return {"event": event, "pid": os.getpid(), "remaining": context.get_remaining_time_in_millis()}


def fail(event, context):
    raise ValueError("no such model: 'fruad'")


def sleep(event, context):
    time.sleep(event["seconds"])


def leave(event, context):
    os._exit(3)
