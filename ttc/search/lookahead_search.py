"""Lookahead search: a step is scored by where it leads.

Snell et al., "Scaling LLM test-time compute optimally", 2408.03314. Beam search
whose score of a step is that of the response `k` greedy steps later. What was
looked at is then forgotten: the decode state is immutable, so going back costs
nothing. Costs at most `(k + 1) N T` generated tokens, `(k + 1) T` in sequence;
the paper uses `k` of 1 and 3. It pays where the verifier cannot judge a step by
itself, seldom otherwise at equal tokens.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ttc.sampling.logits import SamplingParams
from ttc.search.base import Method
from ttc.search.setting import vote_of_leaves
from ttc.search.step_search import (
  Aggregate,
  StepSampler,
  StepSearchOutput,
  default_width,
  step_search,
  take_step,
)
from ttc.types import Params, Prompt, ScoreFn


def lookahead_search(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  steps: StepSampler,
  score_fn: ScoreFn,
  num_beams: int,
  width: int,
  num_lookahead: int | Int[Array, ''],
  *,
  aggregate: Aggregate = 'last',
) -> StepSearchOutput:
  """Beam search that scores each step after `k` further ones.

  Args:
    params: this and what follows, see `beam_search`.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    steps: what draws steps; those that look ahead are drawn greedily.
    score_fn: `(prompt, responses) -> [B, N]`; sees the extended responses.
    num_beams: `N`; static.
    width: `M`; static.
    num_lookahead: `k`; 0 is beam search.
    aggregate: makes of the scores of its steps the one a beam is kept for.

  Returns:
    The leaves; the tokens that looked ahead are in the cost.
  """
  greedy = steps._replace(sampling=SamplingParams(temperature=0.0))

  def value_fn(beams):
    def look(_, carry):
      beams, drawn = carry
      beams, more = take_step(params, keys, greedy, beams)
      return beams, drawn + more

    nothing = jnp.zeros_like(beams.responses.lengths)
    ahead, drawn = jax.lax.fori_loop(0, num_lookahead, look, (beams, nothing))
    return score_fn(prompt, ahead.responses), drawn

  return step_search(
    params, keys, prompt, steps, value_fn, num_beams, width, aggregate=aggregate
  )


def _one_step_ahead(
  params, keys, prompt, steps, score_fn, num_samples, width
) -> StepSearchOutput:
  """Half as many beams, as each looks one step ahead; one beam does not."""
  del width
  num_lookahead = min(num_samples - 1, 1)
  num_beams = num_samples // (1 + num_lookahead)
  width = default_width(num_beams)
  arguments = params, keys, prompt, steps, score_fn
  return lookahead_search(*arguments, num_beams, width, num_lookahead)


METHOD = Method(
  name='lookahead_search',
  title='lookahead search',
  file='search/lookahead_search.py',
  paper='2408.03314',
  cost='(k + 1) N T',
  what='hybrid',
  how=('search', 'verification'),
  decode=vote_of_leaves(_one_step_ahead),
  judges_steps=True,
)
