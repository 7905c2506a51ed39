"""May leave out, never make up, always say so: forms of a text, and the check of every one."""

from .check import Verdict, check
from .choose_form import Chosen, Lossy, choose
from .extract import extract_of_spans

__all__ = ["Chosen", "Lossy", "Verdict", "check", "choose", "extract_of_spans"]
