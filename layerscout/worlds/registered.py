"""Importing this module registers our environments: the left half of Gymnasium's ``module:id`` form.

``gymnasium.make("layerscout.worlds.registered:layerscout/Intercept-v0")`` therefore works in a program that has
never heard of layerscout. Registering adds two entries to a dictionary and imports no world.
"""

from layerscout.worlds.registration import register

register()
