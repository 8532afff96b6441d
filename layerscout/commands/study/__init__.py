"""A folder of one's own study: begun with ``layerscout init``, looked through by ``layerscout status``."""
