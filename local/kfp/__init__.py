"""The embedded KFP endpoint. An unmodified `kfp.Client` or `kfp_server_api` can use it."""

from local.kfp.server import EmbeddedKFP

__all__ = ["EmbeddedKFP"]
