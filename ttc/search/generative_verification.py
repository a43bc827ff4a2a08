"""Generative verification: the policy is asked about its own solutions.

Zhang et al., "Generative verifiers", 2408.15240; Singhi et al., "When to solve,
when to verify", 2504.01005. Each of `S` solutions is verified `V` times, by a
chain of thought with a yes or no at its end, and the one with most yeses wins.
`S (1 + V) = N`, and as in the fits of 2504.01005 solutions grow faster than
verifications: `1 + V` is `N^0.4`, rounded. The decode state of a solution is
asked, so nothing is read twice. Costs `S (1 + V) T` generated tokens, where a
verification may be as long as a solution, and `2 T` in sequence.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ttc.sampling.decode import sample
from ttc.sampling.responses import first_tokens
from ttc.sampling.state import prefill
from ttc.search.base import Method, as_leaves, observe, select_each
from ttc.search.best_of_n import select_best
from ttc.search.setting import Setting
from ttc.types import Prompt, Selection
from ttc.verifiers.generative import ask, mean_verdicts, sample_verdicts

_GROWTH = 0.4  # exponent of verifications; 0.32 to 0.39 in 2504.01005
_VERIFICATION_ID = 2**31 - 1  # names the stream; no sample has this id


def split_budget(num_samples: int) -> tuple[int, int]:
  """`(S, V)` for a budget of `N` responses; `V = 0` where none is left."""
  per_solution = max(round(num_samples**_GROWTH), 1)
  return num_samples // per_solution, per_solution - 1


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """The answer of the solution with the greatest mean verdict."""
  question = setting.question
  if question is None:
    raise ValueError('setting.question is None; this method needs a Question')
  model, params = setting.model, setting.params
  T, Q = setting.capacity, len(question.tokens)
  num_solutions, num_verdicts = split_budget(num_samples)
  output = sample(
    model,
    params,
    keys,
    prefill(model, params, prompt, num_solutions, T + Q + T),
    setting.stop,
    sampling=setting.sampling,
    max_new_tokens=T,
  )
  solutions = first_tokens(output.generation, T)
  samples = observe(prompt, solutions, setting.finished_answer_fn)
  if not num_verdicts:
    same = jnp.zeros_like(samples.scores)
    chosen = select_each(select_best, samples._replace(scores=same))
    return chosen._replace(leaves=as_leaves(solutions, same))
  verdicts, spent = sample_verdicts(
    model,
    params,
    jax.vmap(lambda key: jax.random.fold_in(key, _VERIFICATION_ID))(keys),
    ask(model, params, output.state, question),
    question,
    num_verdicts,
    sampling=setting.sampling,
    max_new_tokens=T,
  )
  said = mean_verdicts(verdicts)
  chosen = select_each(select_best, samples._replace(scores=said))
  in_sequence = solutions.lengths + Q + jnp.max(spent, axis=-1)
  return Selection(
    answer=chosen.answer,
    tokens=chosen.tokens + num_solutions * Q + jnp.sum(spent, axis=(1, 2)),
    depth=jnp.max(in_sequence, axis=-1),
    verifier_calls=jnp.full_like(chosen.tokens, num_solutions * num_verdicts),
    nan_scores=chosen.nan_scores,
    leaves=as_leaves(solutions, said),
  )


METHOD = Method(
  name='generative_verification',
  title='generative verification',
  file='search/generative_verification.py',
  paper='2504.01005',
  cost='S (1 + V) T',
  what='hybrid',
  how=('verification',),
  decode=_decode,
  needs='question',
)
