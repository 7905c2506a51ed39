"""Load shapes for Locust: `-f loadtest/locustfile.py,loadtest/shapes.py`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from locust import LoadTestShape, events


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Add the shape's options to Locust's command line."""
    parser.add_argument("--steps", default="1,8,50,200", help="users of each step")
    parser.add_argument("--step-seconds", type=int, default=30)


class Steps(LoadTestShape):
    """Closed loop in steps, each with its number of users for some time; then the run ends."""

    def tick(self) -> tuple[int, float] | None:
        """Return the current number of users and the spawn rate; None ends the run."""
        assert self.runner is not None
        options: Any = self.runner.environment.parsed_options
        steps = [int(users) for users in options.steps.split(",")]
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        at = int(seconds // options.step_seconds)
        if at >= len(steps):
            return None
        return steps[at], max(10.0, steps[at] / 2)
