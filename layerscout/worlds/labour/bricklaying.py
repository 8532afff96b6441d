"""Bricklaying: a trowel sets bricks on a wall; quick hands set them crooked, and some of that no care avoids."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from layerscout.worlds.labour.base import LabourWorld
from layerscout.worlds.labour.scene import SIZE, Moment, backdrop, finish, paint_box, paint_clock, paint_ellipse
from layerscout.worlds.labour.trade import Prices, Trade

SKY, GROUND, BRICK, JOINT, CROOKED = (
    (150.0, 182.0, 206.0),
    (128.0, 112.0, 88.0),
    (172.0, 84.0, 60.0),
    (206.0, 200.0, 188.0),
    (120.0, 40.0, 92.0),
)
HAND, TROWEL, STRING = (214.0, 158.0, 120.0), (88.0, 92.0, 100.0), (250.0, 235.0, 60.0)
A_COURSE, BRICK_WIDTH, COURSE_HEIGHT, LOWEST_COURSE = 10, 6.0, 4.0, 52.0  # bricks; pixels
COURSES_SHOWN = 5  # the scaffold rises with the wall: the course in work stays in the picture


class Bricklaying(LabourWorld):
    """One hour at the wall. State: seconds, bricks laid straight, bricks taken up, bricks laid crooked."""

    trade = Trade(
        base_rate=1.6,
        care_cost=0.25,
        least_error=0.01,
        haste=0.06,
        haste_power=3.0,
        slip=0.20,
        speed_power=1.0,
        care_power=2.0,
        prices=Prices(price=0.50, damage=2.0, energy=0.25, human_wage=30.0),
    )

    def draw(self, moment: Moment) -> UInt8[np.ndarray, "copy 64 64 3"]:
        """The wall's upper courses with this minute's crooked bricks, the mason's string (care), the trowel's trail (speed), the rubble."""
        copies = len(moment.phase)
        canvas = backdrop(copies, SKY, GROUND, 56)
        paint_clock(canvas, moment.clock)
        laid = moment.completed + moment.errors
        lowest = np.maximum(0, laid // A_COURSE - COURSES_SHOWN)  # the lowest course that is seen
        crooked = np.clip(moment.bad, 0, A_COURSE)
        for place in range((COURSES_SHOWN + 1) * A_COURSE):
            course, along = divmod(place, A_COURSE)
            brick = lowest * A_COURSE + place
            shift = 0.5 * BRICK_WIDTH * ((lowest + course) % 2)
            row, column = LOWEST_COURSE - COURSE_HEIGHT * course, 2.0 + BRICK_WIDTH * along + shift
            there = brick < laid
            if not there.any():
                break
            paint_box(canvas, row, column, 1.9, 2.9, JOINT, there)
            newest = there & (brick >= laid - crooked)  # the errors of the minute are its last bricks
            paint_box(canvas, row, column, 1.3, 2.3, BRICK, there & ~newest)
            paint_box(canvas, row - 0.5, column, 1.5, 2.4, CROOKED, newest, tilt=0.6)
        course, along = divmod(laid - lowest * A_COURSE, A_COURSE)
        row, column = LOWEST_COURSE - COURSE_HEIGHT * course, 2.0 + BRICK_WIDTH * along + 1.0
        paint_box(canvas, row - 3.0, SIZE / 2, 0.2, SIZE / 2, STRING, 0.9 * moment.care)  # a careful hand works by the string
        stroke = 9.0 - 5.0 * moment.care
        for ghost, strength in ((0.16, 0.25), (0.08, 0.45), (0.0, 1.0)):  # the trail is as long as the hand is quick
            behind = 2.0 * np.pi * (moment.phase - ghost * moment.speed)
            up, across = row - 8.0 - 0.45 * stroke * np.cos(behind), column + stroke * np.sin(behind)
            paint_box(canvas, up + 3.0, across, 0.9, 4.5, TROWEL, strength, tilt=0.4 * (1.0 - moment.care) * np.sin(behind))
            paint_ellipse(canvas, up, across + 1.5, 3.2, 3.2, HAND, strength)
            paint_box(canvas, up - 8.0, across + 3.0, 6.0, 1.6, HAND, strength)
        for taken in range(int(min(moment.errors.max(initial=0), 24))):  # every crooked brick is knocked off and lies on the ground
            paint_box(canvas, 60.0, 2.5 + 2.5 * taken, 1.5, 0.8, CROOKED, moment.errors > taken)
        return finish(canvas)
