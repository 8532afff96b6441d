"""Who asks in; whether it is too often out."""

from __future__ import annotations

import threading
import time

from layerscout.service.problems import HttpProblem

MOST_USERS = 10_000


class Allowance:
    """So many submissions a minute for each user, spent at any speed and given back evenly."""

    def __init__(self, a_minute: int) -> None:
        self.a_minute = a_minute
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def spend(self, who: str, now: float | None = None) -> None:
        """Count a submission.

        Raises
        ------
        HttpProblem
            There were too many lately (429); ``Retry-After`` says when the next may come.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            left, when = self._left.get(who, (float(self.a_minute), now))
            left = min(float(self.a_minute), left + (now - when) * self.a_minute / 60)
            if left < 1:
                seconds = int((1 - left) * 60 / self.a_minute) + 1
                message = f"{self.a_minute} submissions a minute are allowed"
                raise HttpProblem(429, message, f"try again in {seconds} s", headers={"Retry-After": str(seconds)})
            if len(self._left) > MOST_USERS:
                self._left.clear()
            self._left[who] = (left - 1, now)
