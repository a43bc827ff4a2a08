r"""Verifiers that are wrong in a known way, made from an exact one.

For controls and for laws: what a method gains from a verifier it must lose with
these, at a rate that has a closed form. Each takes a random key, which it
consumes, and what the exact verifier said of the samples.

- `flip_verdicts`: errs at random; more verifications average it out.
- `add_noise`: a real-valued score, wrong by independent noise.
- `bias_by_answer`: wrong in the same way for all samples of one answer; neither
  more samples nor more verifications average it out.
- `over_optimized`: some wrong samples score above every right one. Best-of-n
  under it rises and then falls to nothing (Gao et al., 2210.10760).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray


def flip_verdicts(
  key: PRNGKeyArray,
  correct: Bool[Array, '*B'],
  true_positive_rate: Num[ArrayLike, ''],
  false_positive_rate: Num[ArrayLike, ''],
  num_verdicts: int = 1,
) -> Bool[Array, '*B V']:
  """Independent yes/no verdicts; equal rates carry no information.

  Args:
    key: random key, consumed.
    correct: what the exact verifier says.
    true_positive_rate: chance of a yes for a correct sample.
    false_positive_rate: chance of a yes for a wrong one.
    num_verdicts: `V`, verdicts of each sample; static.

  Returns:
    The verdicts; their mean over `V` is the score of 2504.01005.
  """
  rate = jnp.where(correct, true_positive_rate, false_positive_rate)
  shape = (*correct.shape, num_verdicts)
  return jax.random.uniform(key, shape) < rate[..., None]


def add_noise(
  key: PRNGKeyArray, scores: Num[Array, '*B'], scale: Num[ArrayLike, '']
) -> Float[Array, '*B']:
  """Scores with independent normal noise of standard deviation `scale`."""
  return scores + scale * jax.random.normal(key, scores.shape)


def bias_by_answer(
  key: PRNGKeyArray,
  scores: Num[Array, ' N'],
  answers: Int[Array, ' N'],
  scale: Num[ArrayLike, ''],
) -> Float[Array, ' N']:
  """Scores with normal noise that all samples of one answer share.

  Args:
    key: random key, consumed.
    scores: of the samples of one problem.
    answers: id of the answer of each sample.
    scale: standard deviation of the noise of an answer.

  Returns:
    The scores.
  """
  first = jnp.argmax(answers[:, None] == answers, axis=1)
  return scores + scale * jax.random.normal(key, scores.shape)[first]


def response_uniform(
  key: PRNGKeyArray, tokens: Int[Array, '*B T'], lengths: Int[Array, '*B']
) -> Float[Array, '*B']:
  """Uniform numbers in [0, 1) that are a function of the response alone.

  For a verifier that errs at random and yet says the same whenever it is asked:
  a copy of a response is no second opinion.

  Args:
    key: random key, consumed; another key is another verifier.
    tokens: of responses.
    lengths: of responses; what stands behind them does not matter, but `T`
      does: in wider arrays the numbers are others.

  Returns:
    One number for each response.
  """
  written = jnp.arange(tokens.shape[-1]) < lengths[..., None]
  step = lambda state, token: ((state ^ token) * jnp.uint32(0x01000193), None)
  words = jnp.where(written, tokens + 1, 0).astype(jnp.uint32)  # 32-bit FNV-1a
  start = jnp.full(lengths.shape, 0x811C9DC5, jnp.uint32)
  hashes, _ = jax.lax.scan(step, start, jnp.moveaxis(words, -1, 0))
  draw = lambda h: jax.random.uniform(jax.random.fold_in(key, h))
  return jax.vmap(draw)(hashes.ravel()).reshape(lengths.shape)


def over_optimized(
  key: PRNGKeyArray,
  correct: Bool[Array, '*B'],
  exploit_rate: Num[ArrayLike, ''],
) -> Float[Array, '*B']:
  r"""A proxy that a share of the wrong samples fools: 2, right 1, wrong 0.

  With accuracy `p` and `h = (1 - p)` times the exploit rate, best-of-n is right
  with probability :math:`(1 - h)^n - (1 - h - p)^n`: it rises at first, and
  falls to 0 for every `h > 0`.

  Args:
    key: random key, consumed.
    correct: what the exact verifier says.
    exploit_rate: share of the wrong samples that score highest.

  Returns:
    The proxy's scores.
  """
  fooled = jax.random.uniform(key, correct.shape) < exploit_rate
  return jnp.where(correct, 1.0, jnp.where(fooled, 2.0, 0.0))
