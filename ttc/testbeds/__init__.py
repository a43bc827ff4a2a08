"""Policies with problems, a verifier and a known law: what to compare on.

A bed is a function `(seed, size, cache) -> World`; what it has to train is
trained once and kept in the directory `cache`.
"""

from ttc.testbeds.calibrated import calibrated
from ttc.testbeds.expressions import expressions
from ttc.testbeds.learned_verifier import learned_verifier
from ttc.testbeds.reasoner import reasoner
from ttc.testbeds.smollm2 import smollm2
from ttc.testbeds.table import table
from ttc.testbeds.train import Recipe, trained_params, trained_transformer
from ttc.testbeds.world import FULL, SIZES, TINY, Size, World

TESTBEDS = (
  table,
  calibrated,
  reasoner,
  learned_verifier,
  expressions,
  smollm2,
)

__all__ = [
  'FULL',
  'SIZES',
  'TESTBEDS',
  'TINY',
  'Recipe',
  'Size',
  'World',
  'calibrated',
  'expressions',
  'learned_verifier',
  'reasoner',
  'smollm2',
  'table',
  'trained_params',
  'trained_transformer',
]
