"""Weighted best-of-N: the answer whose samples have the greatest total score.

Li et al., 2206.02336; called "best-of-N weighted" by Snell et al., 2408.03314,
and PRM-Vote by Liu et al., 2502.06703. It is self-consistency with scores for
votes: the right answer needs neither the best score nor the most samples. Costs
`N T` generated tokens and `N` calls of the verifier. Scores must not be
negative.
"""

from ttc.search.base import Method
from ttc.search.best_of_n import select_best
from ttc.search.self_consistency import majority_vote, weighted_vote
from ttc.types import SelectFn
from ttc.verifiers.weights import raw_weights

weighted_best_of_n: SelectFn = weighted_vote(raw_weights)

# By the names of 2502.06703. The best score of each answer, compared among the
# answers, is the best score of all: PRM-Max is best-of-N.
VOTE_RULES: dict[str, SelectFn] = {
  'majority': majority_vote,
  'prm_max': select_best,
  'prm_vote': weighted_best_of_n,
}

METHOD = Method(
  name='weighted_best_of_n',
  title='weighted best-of-N',
  file='search/weighted_best_of_n.py',
  paper='2206.02336',
  cost='N T',
  what='parallel',
  how=('verification', 'aggregation'),
  select=weighted_best_of_n,
  adds_scores=True,
)
