"""Classifies texts by the command, tool or file that they came from, and by their content.

Pure functions on strings: nothing here imports headroom, so the front end (which pool, whether
a marker is worth it) and the workers (which engine) reach the same decision.
"""

from .command import Printed, printed_by
from .harness_envelope import Envelope, unwrap
from .kind import SHORTENED_EXACTLY, Content, classify
from .kind_by_name import Kind
from .redrawn_lines import drawn_over, in_states

__all__ = [
    "SHORTENED_EXACTLY",
    "Content",
    "Envelope",
    "Kind",
    "Printed",
    "classify",
    "drawn_over",
    "in_states",
    "printed_by",
    "unwrap",
]
