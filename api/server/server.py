"""The front end's server: gunicorn with its asyncio worker, extended by draining."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from shared import logs
from shared.settings import Settings
from shared.sockets import authority
from shared.tracing import tracer

from ..app import App, create_app
from ..endpoints.health import Drain
from .drain import FrontEnd, Master, drain_limit, hang_limit


class Server(BaseApplication):
    """Serves the application until it is stopped.

    It listens on ``settings.host:settings.port``, or on its supervisor's socket ``listen_fd``. Each
    serving process writes a byte to ``ready_fd``.
    """

    def __init__(
        self, settings: Settings, listen_fd: int | None = None, ready_fd: int | None = None
    ) -> None:
        self.settings = settings
        self.drain = Drain()
        self.ready_pipes = [] if ready_fd is None else [ready_fd]
        own = authority(settings.host, settings.port)
        self._bind = own if listen_fd is None else f"fd://{listen_fd}"
        super().__init__()

    def load_config(self) -> None:
        """Configure gunicorn: its timeouts detect hangs and never limit a request."""
        settings = self.settings
        options: dict[str, Any] = {
            "bind": self._bind,
            "workers": settings.api_processes,
            "worker_class": FrontEnd,
            "backlog": 4096,
            "keepalive": 75,
            "timeout": hang_limit(settings),
            "graceful_timeout": drain_limit(settings),
            "loglevel": "warning",
            "proc_name": "headroom-farm-api",
            "control_socket_disable": True,
            # gunicorn_h1c, if another package installed it, truncates large bodies (0.6.10).
            "http_parser": "python",
        }
        for key, value in options.items():
            self.cfg.set(key, value)

    def load(self) -> App:
        """Return the application; called in each process after the fork."""
        logs.configure(self.settings)
        tracer.configure(self.settings, "headroom-farm-api")
        return create_app(self.settings, self.drain)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        Master(self).run()


def serve(settings: Settings, *, listen_fd: int | None = None, ready_fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the descriptors are those of :class:`Server`."""
    Server(settings, listen_fd, ready_fd).run()
