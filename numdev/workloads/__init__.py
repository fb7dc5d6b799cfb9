"""Workloads made ready: model and inputs as files with digests."""

from numdev.workloads.builtin import BUILTINS
from numdev.workloads.prepare import Artefact, Prepared, model_file, prepare, with_digest

__all__ = ["BUILTINS", "Artefact", "Prepared", "model_file", "prepare", "with_digest"]
