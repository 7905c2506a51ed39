"""The front end's server: gunicorn with its asyncio worker."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers import gasgi

from shared import logs
from shared.settings import Settings
from shared.tracing import tracer

from .app import App, create_app
from .connection import BoundedConnection, raise_file_limit


class FrontEnd(gasgi.ASGIWorker):
    """One front-end process."""

    def init_process(self) -> None:
        """Serve with bounded connections."""
        raise_file_limit()
        gasgi.ASGIProtocol = BoundedConnection
        super().init_process()


class Server(BaseApplication):
    """Serves the application on ``settings.host:settings.port`` until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn up: its timeout is a hang detector, never a request's limit."""
        settings = self.settings
        options: dict[str, Any] = {
            "bind": f"{settings.host}:{settings.port}",
            "workers": settings.api_processes,
            "worker_class": FrontEnd,
            "backlog": 4096,
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": settings.deadline_ms // 1000 + 2,
            "loglevel": "warning",
            "proc_name": "headroom-farm-api",
            "control_socket_disable": True,
            # gunicorn_h1c, where something else installed it, cut large bodies off (0.6.10).
            "http_parser": "python",
        }
        for key, value in options.items():
            self.cfg.set(key, value)

    def load(self) -> App:
        """Return the application, made in each process after the fork."""
        logs.configure(self.settings)
        tracer.configure(self.settings, "headroom-farm-api")
        return create_app(self.settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    Server(settings).run()
