"""Passports: all that others need to lift one block out of its model, run it alone, and hold it against controls."""

from layerscout.extract.block_controls import identity, reinitialised, shuffled
from layerscout.extract.context import NoPassport
from layerscout.extract.frozen_layer import FrozenLayer
from layerscout.extract.harvest import harvest, harvest_layers
from layerscout.extract.passport_record import Passport
from layerscout.extract.stored_passports import open_passport

__all__ = ["FrozenLayer", "NoPassport", "Passport", "harvest", "harvest_layers", "identity", "open_passport", "reinitialised", "shuffled"]
