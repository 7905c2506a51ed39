"""May leave out, never make up, always say so: forms of a text, and the check of every one."""

from .check import Verdict, check, digest_of
from .choose import Chosen, Lossy, choose
from .extract import extract_of_spans

__all__ = ["Chosen", "Lossy", "Verdict", "check", "choose", "digest_of", "extract_of_spans"]
