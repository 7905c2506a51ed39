"""The command line that runs a module of this project in a separate process."""

from __future__ import annotations

import sys


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``module`` with ``arguments`` in this interpreter.

    ``-P`` keeps the working directory off the module path: without it ``python -m`` would
    import a file ``inspect.py``, or a package ``api``, from the caller's directory.
    Settings (``HEADROOM_*``) and ``PYTHONPATH`` still apply. The project must be installed,
    an editable installation included.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
