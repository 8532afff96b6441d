"""Passports: all that others need to lift one block out of its model, run it alone, and hold it against controls."""

from layerscout.extract.passports.block_controls import identity, reinitialised, shuffled
from layerscout.extract.passports.context import NoPassport
from layerscout.extract.passports.frozen_layer import FrozenLayer
from layerscout.extract.passports.harvest import harvest, harvest_layers
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.passports.stored_passports import open_passport

__all__ = ["FrozenLayer", "NoPassport", "Passport", "harvest", "harvest_layers", "identity", "open_passport", "reinitialised", "shuffled"]
