"""Loads what front ends and workers load with their first text; the fork server imports it."""

from api.pipeline.offload import Offload
from api.pipeline.plan_request import RequestPlanner
from shared.gc_freeze import keep_what_is_loaded
from shared.settings import Settings
from workers.block_form import Engines
from workers.compress_block import warm_up
from workers.engines import text_engine

_settings = Settings()
_chosen = text_engine("gpu", _settings)
assert _chosen is not None
warm_up(Engines("gpu", _chosen.engine))
RequestPlanner(_settings, Offload()).warm_up()
keep_what_is_loaded()
