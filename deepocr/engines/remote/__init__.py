"""Another predictor as an engine: over Cog's HTTP API, Replicate's, or this project's service."""

from deepocr.engines.remote.cog_api import CogServer
from deepocr.engines.remote.engine import RemoteEngine, Retries, create

__all__ = ["CogServer", "RemoteEngine", "Retries", "create"]
