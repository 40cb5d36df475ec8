"""A self-hosted server for the hosted video-to-video Model API."""

__version__ = "0.1.0"
