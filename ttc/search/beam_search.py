r"""Beam search over steps, guided by a process reward model.

Snell et al., "Scaling LLM test-time compute optimally", 2408.03314. Draw `N`
first steps, keep the best `N / M`, draw `M` continuations of each, and so on
until all have ended; the leaves then vote, weighted by their scores. With
`M = 1` nothing is pruned and it is (weighted) best-of-N; with `M = N` one beam
is kept and it is the greedy search that draws `N` candidates for every step,
step-level best-of-N. Costs `N T` generated tokens, `T` of them in sequence, and
`N` calls of the verifier per step. Better than best-of-N where few samples are
right all the way. A verifier that errs is exploited, and one that knows nothing
costs the diversity that a vote among independent samples lives on.
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


def beam_search(
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
  """Searches with `N` beams, of which one in `M` is kept after each step.

  Args:
    params: parameters of the policy.
    keys: `[B]`, one per problem; consumed. With `M = 1` the leaves are the
      samples that `ttc.sampling.generate` draws with these keys.
    prompt: the prompts.
    steps: what draws steps.
    score_fn: `(prompt, responses so far) -> [B, N]`, the score of the last step
      of each.
    num_beams: `N`, a multiple of `M`; static.
    width: `M`, continuations of a kept beam, 4 in the paper; static.
    aggregate: makes of the scores of its steps the one a beam is kept for.

  Returns:
    The leaves; see `select_leaf` for their vote.
  """
  value_fn = score_responses(score_fn, prompt)
  return step_search(
    params, keys, prompt, steps, value_fn, num_beams, width, aggregate=aggregate
  )


METHOD = Method(
  name='beam_search',
  title='beam search',
  file='search/beam_search.py',
  paper='2408.03314',
  cost='N T',
  what='hybrid',
  how=('search', 'verification'),
  decode=vote_of_leaves(beam_search),
  judges_steps=True,
)
