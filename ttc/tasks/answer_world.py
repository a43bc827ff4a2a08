r"""AnswerWorld: problems whose law is known, so that methods can be computed.

A problem is a finite set of reasoning paths. Each has a probability, an answer,
a length and a verifier's score; a sample is a path, drawn. All that a selection
method may look at is thus jointly distributed in a known way: the law of the
answers is a sum over paths, the true path probability is the model's, and a
control changes one of them and leaves the rest. No model runs.

Answer 0 is right, and -1 is none. Functions take one problem; `vmap` over
problems. Axes: `P` paths, `A` answers, `N` samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ttc.types import Samples


class AnswerWorld(NamedTuple):
  """The paths of one problem."""

  log_probs: Float[Array, ' P']  # in nats; the probabilities sum to 1
  answers: Int[Array, ' P']
  lengths: Int[Array, ' P']  # tokens
  scores: Float[Array, ' P']  # what a verifier says, higher is better


def random_world(
  key: PRNGKeyArray,
  num_answers: int,
  paths_per_answer: int,
  *,
  edge: Num[ArrayLike, ''] = 1.0,
  answer_spread: Num[ArrayLike, ''] = 1.0,
  path_spread: Num[ArrayLike, ''] = 1.0,
  score_signal: Num[ArrayLike, ''] = 1.0,
  min_length: int = 8,
  max_length: int = 32,
) -> AnswerWorld:
  """Draws a problem.

  Args:
    key: random key, consumed.
    num_answers: `A`; static.
    paths_per_answer: `P / A`; static.
    edge: added to the logit of the right answer, in nats.
    answer_spread: standard deviation of the logits of answers: how much
      problems differ, and how often the most likely answer is wrong.
    path_spread: standard deviation of the logits of the paths of one answer:
      how much probability a few of them hold.
    score_signal: mean score of right paths, in units of the normal noise that
      all scores have.
    min_length: of a path, in tokens.
    max_length: of a path; lengths are uniform between the two.

  Returns:
    An `AnswerWorld` with `P = A * paths_per_answer` paths.
  """
  answer_key, path_key, length_key, score_key = jax.random.split(key, 4)
  answers = jnp.repeat(jnp.arange(num_answers), paths_per_answer)
  right = answers == 0
  answer_logits = jax.random.normal(answer_key, (num_answers,)) * answer_spread
  answer_logits = jax.nn.log_softmax(answer_logits.at[0].add(edge))
  shape = (num_answers, paths_per_answer)
  path_logits = path_spread * jax.random.normal(path_key, shape)
  within = jax.nn.log_softmax(path_logits, axis=1).ravel()
  noise = jax.random.normal(score_key, answers.shape)
  return AnswerWorld(
    log_probs=answer_logits[answers] + within,
    answers=answers,
    lengths=jax.random.randint(
      length_key, answers.shape, min_length, max_length + 1
    ),
    scores=right * score_signal + noise,
  )


def answer_law(world: AnswerWorld, num_answers: int) -> Float[Array, ' A']:
  """Probability of each answer; paths without an answer are left out."""
  valid = world.answers >= 0
  probs = jnp.where(valid, jnp.exp(world.log_probs), 0.0)
  return jax.ops.segment_sum(probs, jnp.maximum(world.answers, 0), num_answers)


def draw_paths(
  key: PRNGKeyArray, world: AnswerWorld, num_samples: int
) -> Int[Array, ' N']:
  """Draws paths independently, with replacement; the key is consumed."""
  return jax.random.categorical(key, world.log_probs, shape=(num_samples,))


def observe_paths(world: AnswerWorld, paths: Int[Array, ' N']) -> Samples:
  """The drawn paths as a selection method sees them.

  To see them otherwise than they were drawn, change the world in between: with
  permuted `log_probs` the confidences say nothing of the paths.

  Args:
    world: the problem.
    paths: from `draw_paths`.

  Returns:
    Samples that all ended by themselves.
  """
  return Samples(
    answers=world.answers[paths],
    scores=world.scores[paths],
    log_probs=world.log_probs[paths],
    lengths=world.lengths[paths],
    finished=jnp.ones(paths.shape, bool),
  )
