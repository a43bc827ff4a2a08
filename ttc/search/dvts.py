"""Diverse verifier tree search: independent subtrees, each searched greedily.

Beeching, Tunstall and Rush, "Scaling test-time compute with open models", 2024;
Liu et al., "Can 1B LLM surpass 405B LLM?", 2502.06703. Beam search may keep
only relatives; here `N / M` subtrees of `M` beams each keep their own best step
and never meet before the vote. With `M = 1` these are `N` independent samples,
with `M = N` it is beam search of width `N`. Costs `N T` generated tokens, `T`
in sequence, and `N` calls of the verifier per step. For large `N`.
"""

from jaxtyping import Array, Key

from ttc.search.base import Method
from ttc.search.setting import vote_of_leaves
from ttc.search.step_search import (
  Aggregate,
  StepSampler,
  StepSearchOutput,
  score_responses,
  step_search,
)
from ttc.types import Params, Prompt, ScoreFn


def dvts(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  steps: StepSampler,
  score_fn: ScoreFn,
  num_beams: int,
  width: int,
  *,
  aggregate: Aggregate = 'last',
) -> StepSearchOutput:
  """Searches `N / M` subtrees; arguments and result as for `beam_search`.

  All ended beams are leaves, siblings of a subtree's best last step included.
  """
  return step_search(
    params,
    keys,
    prompt,
    steps,
    score_responses(score_fn, prompt),
    num_beams,
    width,
    num_subtrees=max(num_beams // width, 1),
    aggregate=aggregate,
  )


METHOD = Method(
  name='dvts',
  title='DVTS',
  file='search/dvts.py',
  paper='2502.06703',
  cost='N T',
  what='hybrid',
  how=('search', 'verification'),
  decode=vote_of_leaves(dvts),
  judges_steps=True,
)
