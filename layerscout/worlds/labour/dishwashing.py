"""Dishwashing: a hand wipes plates over a sink; quick hands break more of them, careful hands wash fewer."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from layerscout.worlds.labour.base import LabourWorld
from layerscout.worlds.labour.scene import SIZE, Moment, backdrop, finish, paint_box, paint_clock, paint_ellipse
from layerscout.worlds.labour.trade import Prices, Trade

WALL, TABLE, SINK, WATER = (96.0, 120.0, 132.0), (150.0, 142.0, 130.0), (92.0, 98.0, 106.0), (120.0, 168.0, 196.0)
PLATE, RIM, HAND, SPONGE, SHARD, FOAM = (
    (238.0, 240.0, 242.0),
    (150.0, 160.0, 175.0),
    (214.0, 158.0, 120.0),
    (226.0, 190.0, 60.0),
    (196.0, 52.0, 46.0),
    (250.0, 252.0, 255.0),
)
SINK_ROW, SINK_COLUMN = 36.0, 24.0
STACKS, STACK_COLUMN = 3, 46.0


class Dishwashing(LabourWorld):
    """One hour at the sink. State: seconds, plates washed, plates taken up, plates broken."""

    trade = Trade(
        base_rate=2.0,
        care_cost=0.25,
        least_error=0.02,
        haste=0.0,
        haste_power=1.0,
        slip=0.12,
        speed_power=1.2,
        care_power=1.5,
        prices=Prices(price=0.30, damage=1.0, energy=0.10, human_wage=18.0),
    )

    def draw(self, moment: Moment) -> UInt8[np.ndarray, "copy 64 64 3"]:
        """The sink with foam (care) and the sponge's trail (speed), the stacks of washed plates, the shards of this minute and before."""
        canvas = backdrop(len(moment.phase), WALL, TABLE, 28)
        paint_clock(canvas, moment.clock)
        paint_ellipse(canvas, SINK_ROW, SINK_COLUMN, 13.0, 20.0, SINK)
        paint_ellipse(canvas, SINK_ROW + 1.0, SINK_COLUMN, 11.0, 18.0, WATER)
        paint_ellipse(canvas, SINK_ROW, SINK_COLUMN, 7.0, 12.0, RIM)
        paint_ellipse(canvas, SINK_ROW, SINK_COLUMN, 5.5, 10.0, PLATE)
        foam = 0.85 * moment.care  # a careful hand lathers
        for row, column, size in ((31.0, 13.0, 3.0), (42.0, 17.0, 2.5), (41.0, 34.0, 3.0), (30.0, 33.0, 2.2), (44.0, 26.0, 2.0)):
            paint_ellipse(canvas, row, column, size, size, FOAM, foam)
        stroke = 11.0 - 6.0 * moment.care  # pixels: wide and quick, or close and even
        for ghost, strength in ((0.16, 0.25), (0.08, 0.45), (0.0, 1.0)):  # the trail is as long as the hand is quick
            behind = 2.0 * np.pi * (moment.phase - ghost * moment.speed)
            down, across = SINK_ROW - 2.0 + 0.35 * stroke * np.sin(behind), SINK_COLUMN + stroke * np.cos(behind)
            paint_box(canvas, down + 2.5, across, 2.5, 4.0, SPONGE, strength)
            paint_ellipse(canvas, down - 3.0, across + 1.0, 4.0, 4.0, HAND, strength)
            paint_box(canvas, down - 13.0, across + 4.0, 7.0, 1.8, HAND, strength, tilt=0.0)
        for plate in range(int(min(moment.completed.max(initial=0), 40 * STACKS))):  # three stacks of forty, half a pixel a plate
            stack, height = divmod(plate, 40)
            paint_box(
                canvas, 54.0 - 0.8 * height, STACK_COLUMN + 7.0 * stack, 0.3, 2.6, PLATE if height % 4 else RIM, moment.completed > plate
            )
        for broken in range(int(min(moment.errors.max(initial=0), 24))):  # what was broken lies on the floor
            paint_box(canvas, 60.5, 2.5 + 2.5 * broken, 1.5, 0.7, SHARD, moment.errors > broken)
        for piece, (row, column) in enumerate(((33.0, 18.0), (38.0, 22.0), (35.0, 28.0), (39.0, 30.0))):
            paint_box(canvas, row, column, 1.2, 3.2, SHARD, moment.bad > 0, tilt=(-1.0) ** piece)
        paint_box(canvas, SIZE - 8.0, SIZE / 2, 0.5, SIZE / 2, RIM, 0.4)
        return finish(canvas)
