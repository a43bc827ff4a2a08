"""Best-of-N: draw `N` samples and keep the one the verifier prefers.

Cobbe et al., "Training verifiers to solve math word problems", 2110.14168;
Snell et al., "Scaling LLM test-time compute optimally", 2408.03314. Costs `N T`
generated tokens, `T` of them in sequence, and `N` calls of the verifier. As
good as the verifier: a poor one is over-optimised as `N` grows.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ttc.search.base import Method, run_all, scored
from ttc.types import (
  Generation,
  Params,
  Prompt,
  SampleFn,
  Samples,
  ScoreFn,
  Selection,
)


class BestOfNOutput(NamedTuple):
  """What best-of-N returns for `B` prompts and `N` samples."""

  tokens: Int[Array, 'B T']  # the highest scoring sample
  scores: Float[Array, 'B N']  # what the verifier said
  samples: Generation  # all of them


def best_of_n(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  sample_fn: SampleFn,
  score_fn: ScoreFn,
  num_samples: int,
) -> BestOfNOutput:
  r"""Draws `N` samples and keeps the one the verifier prefers.

  .. math:: \hat y = \arg\max_{i \le N} r(x, y_i), \quad y_i \sim \pi(\cdot | x)

  KL to the base policy is at most :math:`\log N - (N - 1) / N` (Beirami et al.,
  2401.01879).

  Args:
    params: parameters of the policy, passed to `sample_fn`.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    sample_fn: draws the samples, see `ttc.sampling.generate`.
    score_fn: `(prompt, samples) -> [B, N]`, higher is better.
    num_samples: `N`; static.

  Returns:
    A `BestOfNOutput`; ties go to the first sample. A score of NaN never wins;
    if all are NaN, the response is empty.

  Example:
    >>> sample = functools.partial(
    ...   sampling.generate, model=models.table_model(4), capacity=1,
    ...   stop=sampling.stop_rules(4))
    >>> larger = lambda prompt, drawn: drawn.tokens[..., 0].astype(jnp.float32)
    >>> best = jax.jit(functools.partial(
    ...   search.best_of_n, sample_fn=sample, score_fn=larger, num_samples=32))
    >>> prompt = Prompt(jnp.array([[1]]), jnp.array([1]))
    >>> best(jnp.zeros((4, 4)), jax.random.key(0)[None], prompt).tokens.tolist()
    [[3]]
  """
  samples = sample_fn(params, keys, prompt, num_samples)
  scores = score_fn(prompt, samples)
  known = ~jnp.isnan(scores)
  best = jnp.argmax(jnp.where(known, scores, -jnp.inf), axis=-1)[:, None, None]
  tokens = jnp.take_along_axis(samples.tokens, best, axis=1)[:, 0]
  tokens = jnp.where(jnp.any(known, axis=1)[:, None], tokens, 0)
  return BestOfNOutput(tokens, scores, samples)


def select_best(samples: Samples, n: Int[Array, '']) -> Selection:
  """The answer of the best scored of the first `n` samples that has one.

  Example:
    >>> samples = Samples(
    ...   answers=jnp.array([7, 7, 5]), scores=jnp.array([0.2, 0.3, 0.9]),
    ...   log_probs=jnp.zeros(3), lengths=jnp.array([4, 2, 3]),
    ...   finished=jnp.ones(3, bool))
    >>> for n in (1, 2, 3):
    ...   print(n, int(search.select_best(samples, jnp.int32(n)).answer))
    1 7
    2 7
    3 5
  """
  eligible = scored(samples, n)
  scores = jnp.where(eligible, samples.scores, -jnp.inf)
  answer = samples.answers[jnp.argmax(scores)]
  return run_all(samples, n, jnp.where(jnp.any(eligible), answer, -1))


METHOD = Method(
  name='best_of_n',
  title='best-of-N',
  file='search/best_of_n.py',
  paper='2110.14168',
  cost='N T',
  what='parallel',
  how=('verification',),
  select=select_best,
)
