"""What a browser is given. Importing it tells which extra is missing, if one is."""

from layerscout.errors import MissingExtraError, install

try:
    import fastapi
    import jinja2
except ImportError:
    raise MissingExtraError("the service needs FastAPI and Jinja, which are not installed", hint=install("serve")) from None

__all__ = ["fastapi", "jinja2"]
