"""What a program is given. Importing it tells which extra is missing, if one is."""

from layerscout.errors import MissingExtraError, install

try:
    import fastapi
except ImportError:
    raise MissingExtraError("the service needs FastAPI, which is not installed", hint=install("serve")) from None

__all__ = ["fastapi"]
