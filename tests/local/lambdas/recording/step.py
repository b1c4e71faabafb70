from recording import record


def handler(event, context):
    record("step", event)
