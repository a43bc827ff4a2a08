"""Learning to ask: policies for pure exploration (2010.15382)."""

from ttc.metarl.active_learning.exact import GameValue, bayes_losses, game_value
from ttc.metarl.active_learning.policies import (
  Inquiry,
  PolicyFn,
  Statistics,
  inquire,
  misidentification,
  network,
  simple_regret,
  uniform,
)
from ttc.metarl.active_learning.problems import (
  Exploration,
  Outcomes,
  best_answer,
  best_arm,
  difficulty,
  normal,
  signs,
  thresholds,
)
from ttc.metarl.active_learning.robust import (
  Adversary,
  Found,
  Robust,
  expected_losses,
  learn,
  minimax,
  particles,
)

__all__ = [
  'Adversary',
  'Exploration',
  'Found',
  'GameValue',
  'Inquiry',
  'Outcomes',
  'PolicyFn',
  'Robust',
  'Statistics',
  'bayes_losses',
  'best_answer',
  'best_arm',
  'difficulty',
  'expected_losses',
  'game_value',
  'inquire',
  'learn',
  'minimax',
  'misidentification',
  'network',
  'normal',
  'particles',
  'signs',
  'simple_regret',
  'thresholds',
  'uniform',
]
