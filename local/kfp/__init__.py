"""The embedded KFP endpoint, which an unmodified `kfp.Client` or `kfp_server_api` can drive."""

from local.kfp.server import EmbeddedKFP

__all__ = ["EmbeddedKFP"]
