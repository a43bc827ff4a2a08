r"""RPC: votes by the probability of reasoning paths, the improbable pruned.

Zhou et al., 2502.00511 (2510.15444). A path is worth the probability that the
model gives it, and an answer the sum over its *different* paths,

.. math:: P(a) \propto \sum_{y \in \{y_1 \dots y_n\},\, a(y) = a} p(y)

(perplexity consistency, PC): what was drawn need not be drawn again to be
counted, so the error of the estimate falls exponentially in `n` where that of a
vote falls as `1 / n`. Reasoning pruning (RP) first drops the paths that a
mixture of two Weibull laws ascribes to its lower component. The paper's theory
has the path probability for `p`, and that is the default; its released code has
the geometric mean over tokens, `length_norm`, whose sum over different paths
estimates no probability: accuracy can fall with `n`.

Special cases: all weights 1 is self-consistency; repeated paths counted each
time is the confidence vote (2502.06233, with the confidence itself as weight);
the one most confident path is the lowest perplexity. All cost `N T` generated
tokens and nothing else: the log-probabilities are there anyway.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.search.base import Method, drawn, run_all, tally, winner
from ttc.search.best_of_n import select_best
from ttc.search.weibull_mixture import fit_weibull_mixture
from ttc.types import Samples, SelectFn, Selection

MIN_PATHS = 8  # with fewer there is nothing to fit


def rpc(*, length_norm: bool = False, num_steps: int = 100) -> SelectFn:
  """Perplexity consistency after reasoning pruning.

  Args:
    length_norm: weigh a path by its geometric mean token probability instead of
      its probability.
    num_steps: of the fit, see `fit_weibull_mixture`; static.

  Returns:
    A method; ties go to the answer that was drawn first.
  """

  def weights(samples, mask):
    x = log_confidences(samples, length_norm=length_norm)
    kept = surviving_paths(x, mask, num_steps=num_steps)
    return path_weights(x, kept & first_copies(samples, mask))

  return _vote(weights)


def perplexity_consistency(*, length_norm: bool = False) -> SelectFn:
  """The answer with the greatest probability summed over different paths.

  With `length_norm`, geometric means are summed: no probabilities, so with many
  samples the answer with the most different paths wins, however rare they are.
  """

  def weights(samples, mask):
    x = log_confidences(samples, length_norm=length_norm)
    return path_weights(x, first_copies(samples, mask))

  return _vote(weights)


def confidence_vote(*, length_norm: bool = True) -> SelectFn:
  """A vote in which every sample counts by the model's confidence in it."""

  def weights(samples, mask):
    x = log_confidences(samples, length_norm=length_norm)
    return path_weights(x, mask)

  return _vote(weights)


def lowest_perplexity(samples: Samples, n: Int[Array, '']) -> Selection:
  """The answer of the sample that the model found least surprising."""
  x = log_confidences(samples, length_norm=True)
  return select_best(samples._replace(scores=x), n)


def log_confidences(
  samples: Samples, *, length_norm: bool
) -> Float[Array, ' N']:
  """Log-probability of each response in nats: per token, or in all."""
  lengths = jnp.maximum(samples.lengths, 1)
  return samples.log_probs / lengths if length_norm else samples.log_probs


def first_copies(
  samples: Samples, mask: Bool[Array, ' N']
) -> Bool[Array, ' N']:
  """Which samples are not copies of an earlier one that `mask` counts.

  Samples of equal answer, length and log-probability are one path: texts are
  not compared, and different ones agree in all three by accident only.
  """
  equal = lambda x: x[:, None] == x
  same = equal(samples.answers) & equal(samples.lengths)
  same &= equal(samples.log_probs) & mask
  return mask & (jnp.argmax(same, axis=1) == jnp.arange(mask.size))


def surviving_paths(
  log_confidences: Float[Array, ' N'],
  mask: Bool[Array, ' N'],
  *,
  num_steps: int = 100,
) -> Bool[Array, ' N']:
  """Reasoning pruning: which of the paths that `mask` counts are kept.

  A path is dropped if it belongs more likely to the lower component of the
  mixture and its confidence is below the mean. One of the most confident always
  stays. Copies take part in the fit and in the mean, as in the paper's code.

  Args:
    log_confidences: in nats; a constant added to all changes nothing.
    mask: which paths there are; fewer than 8 are all kept.
    num_steps: of the fit; static.

  Returns:
    The paths that are kept.
  """
  fit = fit_weibull_mixture(log_confidences, mask, num_steps=num_steps)
  p = path_weights(log_confidences, mask)
  mean = jnp.sum(p) / jnp.maximum(jnp.sum(mask), 1)
  # The margin keeps equal confidences from being below their rounded mean.
  pruned = (fit.posterior < 0.5) & (p < (1 - 1e-6) * mean)
  return mask & ~(pruned & (jnp.sum(mask) >= MIN_PATHS))


def path_weights(
  log_confidences: Float[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, ' N']:
  """Confidences relative to the greatest, so that none underflows together."""
  x = jnp.where(mask, log_confidences, -jnp.inf)
  top = jnp.max(x)
  return jnp.where(mask, jnp.exp(x - jnp.where(top > -jnp.inf, top, 0.0)), 0.0)


def answer_shares(
  answers: Int[Array, ' N'], weights: Float[Array, ' N']
) -> Float[Array, ' N']:
  """Probability of each sample's answer under weighted votes.

  Args:
    answers: id of the answer of each sample, -1 for none.
    weights: not negative.

  Returns:
    The share of the weight of all samples that have an answer; 0 for those that
    have none.
  """
  mask = answers >= 0
  cast = jnp.sum(jnp.where(mask, weights, 0.0))
  totals = jnp.where(mask, tally(answers, weights, mask), 0.0)
  return totals / jnp.where(cast > 0, cast, 1.0)


def split_accuracy(
  answers: Int[Array, ' N'], shares: Float[Array, ' N'], gold: Int[Array, '']
) -> Float[Array, '']:
  """Chance that a uniformly chosen one of the leading answers is `gold`.

  Args:
    answers: id of the answer of each sample, -1 for none.
    shares: from `answer_shares`.
    gold: id of the right answer.

  Returns:
    1 over the number of leading answers if `gold` leads, else 0.
  """
  same = answers[:, None] == answers
  is_first = jnp.argmax(same, axis=1) == jnp.arange(answers.size)
  leads = (answers >= 0) & (shares >= (1 - 1e-6) * jnp.max(shares))
  num_leaders = jnp.sum(leads & is_first)
  won = jnp.any(leads & (answers == gold))
  return jnp.where(won, 1 / jnp.maximum(num_leaders, 1), 0.0)


def _vote(weight_fn) -> SelectFn:
  """A vote with the weights `weight_fn(samples, mask)`."""

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    mask = drawn(samples, n) & (samples.answers >= 0)
    mask &= ~jnp.isnan(samples.log_probs)
    totals = tally(samples.answers, weight_fn(samples, mask), mask)
    return run_all(samples, n, winner(samples.answers, totals))

  return select


METHOD = Method(
  name='rpc',
  title='RPC',
  file='search/rpc.py',
  paper='2502.00511',
  cost='N T',
  what='parallel',
  how=('aggregation',),
  select=rpc(),
)
PERPLEXITY_CONSISTENCY = METHOD._replace(
  name='perplexity_consistency',
  title='perplexity consistency',
  select=perplexity_consistency(),
)
# Weighted as the released code weighs.
GEOMETRIC_RPC = METHOD._replace(
  name='rpc_geometric',
  title='RPC, geometric means',
  select=rpc(length_norm=True),
)
GEOMETRIC_PERPLEXITY_CONSISTENCY = METHOD._replace(
  name='perplexity_consistency_geometric',
  title='perplexity consistency, geometric means',
  select=perplexity_consistency(length_norm=True),
)
PERPLEXITY = METHOD._replace(
  name='lowest_perplexity',
  title='lowest perplexity',
  select=lowest_perplexity,
)
CONFIDENCE = METHOD._replace(
  name='confidence_vote',
  title='confidence vote',
  paper='2502.06233',
  select=confidence_vote(),
)
