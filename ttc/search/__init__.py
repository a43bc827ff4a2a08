"""Search: methods that spend test-time compute on samples, one per file.

`METHODS` lists what each of them declares of itself; a new method is a new file
and a line here.
"""

from ttc.search import best_of_n as _best_of_n
from ttc.search import budget_forcing as _budget_forcing
from ttc.search import first_finish_search as _first_finish_search
from ttc.search import self_consistency as _self_consistency
from ttc.search.base import Method, observe, select_each, tally, winner
from ttc.search.best_of_n import BestOfNOutput, best_of_n, select_best
from ttc.search.budget_forcing import budget_forcing
from ttc.search.first_finish_search import (
  first_finish_search,
  longest_vote,
  shortest_vote,
)
from ttc.search.self_consistency import (
  SelfConsistencyOutput,
  beta_confidence,
  beta_stop,
  beta_stopped_vote,
  majority_vote,
  minmax_weights,
  self_consistency,
  sigmoid_weights,
  softmax_weights,
  weighted_vote,
)

METHODS = (
  _best_of_n.METHOD,
  _self_consistency.METHOD,
  _self_consistency.WEIGHTED,
  _self_consistency.ADAPTIVE,
  _first_finish_search.METHOD,
  _first_finish_search.CONTROL,
  _budget_forcing.METHOD,
)

__all__ = [
  'METHODS',
  'BestOfNOutput',
  'Method',
  'SelfConsistencyOutput',
  'best_of_n',
  'beta_confidence',
  'beta_stop',
  'beta_stopped_vote',
  'budget_forcing',
  'first_finish_search',
  'longest_vote',
  'majority_vote',
  'minmax_weights',
  'observe',
  'select_best',
  'select_each',
  'self_consistency',
  'shortest_vote',
  'sigmoid_weights',
  'softmax_weights',
  'tally',
  'weighted_vote',
  'winner',
]
