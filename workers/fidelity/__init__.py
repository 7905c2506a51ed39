"""May leave out, never make up, always say so: forms of a text, and the check of every one."""

from .choose_form import Chosen, Lossy, choose
from .extract import extract_of_spans
from .verify_form import Verdict, check

__all__ = ["Chosen", "Lossy", "Verdict", "check", "choose", "extract_of_spans"]
