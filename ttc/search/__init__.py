"""Search: methods that spend test-time compute on samples, one per file.

`METHODS` lists what each of them declares of itself; a new method is a new file
and a line here.
"""

from ttc.search import best_of_n as _best_of_n
from ttc.search import budget_forcing as _budget_forcing
from ttc.search import first_finish_search as _first_finish_search
from ttc.search import rpc as _rpc
from ttc.search import self_consistency as _self_consistency
from ttc.search import weighted_best_of_n as _weighted_best_of_n
from ttc.search.base import Method, observe, select_each, tally, winner
from ttc.search.best_of_n import BestOfNOutput, best_of_n, select_best
from ttc.search.budget_forcing import budget_forcing
from ttc.search.first_finish_search import (
  first_finish_search,
  longest_vote,
  shortest_vote,
)
from ttc.search.rpc import (
  answer_shares,
  confidence_vote,
  lowest_perplexity,
  perplexity_consistency,
  rpc,
  split_accuracy,
)
from ttc.search.self_consistency import (
  SelfConsistencyOutput,
  beta_confidence,
  beta_stop,
  beta_stopped_vote,
  majority_vote,
  self_consistency,
  weighted_vote,
)
from ttc.search.weibull_mixture import fit_weibull_mixture
from ttc.search.weighted_best_of_n import VOTE_RULES, weighted_best_of_n
from ttc.verifiers.weights import (
  minmax_weights,
  sigmoid_weights,
  softmax_weights,
)

METHODS = (
  _best_of_n.METHOD,
  _self_consistency.METHOD,
  _self_consistency.WEIGHTED,
  _self_consistency.ADAPTIVE,
  _weighted_best_of_n.METHOD,
  _rpc.METHOD,
  _rpc.PERPLEXITY_CONSISTENCY,
  _rpc.PERPLEXITY,
  _rpc.CONFIDENCE,
  _first_finish_search.METHOD,
  _first_finish_search.CONTROL,
  _budget_forcing.METHOD,
)

__all__ = [
  'METHODS',
  'VOTE_RULES',
  'BestOfNOutput',
  'Method',
  'SelfConsistencyOutput',
  'answer_shares',
  'best_of_n',
  'beta_confidence',
  'beta_stop',
  'beta_stopped_vote',
  'budget_forcing',
  'confidence_vote',
  'first_finish_search',
  'fit_weibull_mixture',
  'longest_vote',
  'lowest_perplexity',
  'majority_vote',
  'minmax_weights',
  'observe',
  'perplexity_consistency',
  'rpc',
  'select_best',
  'select_each',
  'self_consistency',
  'shortest_vote',
  'sigmoid_weights',
  'softmax_weights',
  'split_accuracy',
  'tally',
  'weighted_best_of_n',
  'weighted_vote',
  'winner',
]
