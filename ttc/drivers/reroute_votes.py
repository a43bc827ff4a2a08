"""Votes of more samples by the router's own routes, at the cost of re-routing.

Self-consistency (Wang et al., 2203.11171): what a re-routing spends on
references or on learning buys samples as well.
"""

import functools
import operator
from collections import Counter
from collections.abc import Callable, Hashable

import jax
import numpy as np

from ttc import sampling
from ttc.drivers.reroute_problems import Problems

_MOST_ROWS = 64  # samples of a question that are drawn together


def num_votes(
  budget: float, prompt_tokens: float, sample_tokens: float, most: int
) -> int:
  """Samples that cost as much as a re-routing, at least one.

  Args:
    budget: tokens that a question may take, the prompt's among them.
    prompt_tokens: of a question; read once.
    sample_tokens: that go through the model for a response.
    most: of samples.

  Returns:
    The number.
  """
  bought = (budget - prompt_tokens) / max(sample_tokens, 1.0)
  return int(np.clip(bought, 1, most))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(model, capacity, num_samples, params, keys, prompt, noise, stop):
  num_rows = min(num_samples, _MOST_ROWS)
  state = sampling.prefill(
    model, params, prompt, num_rows, capacity, routes=noise
  )
  return sampling.sample(
    model, params, keys, state, stop, num_samples, routes=noise
  ).generation


def vote(problems: Problems, ids: np.ndarray, keys, num_samples: int):
  """The commonest of the answers to each question, right or wrong.

  Args:
    problems: of the run.
    ids: of the questions.
    keys: one for each.
    num_samples: to each, at temperature 1.

  Returns:
    Scores `[B]`, and the tokens `[B]` that went through the model.
  """
  prompt = problems.prompts(ids)
  drawn = _draw(
    problems.model, problems.capacity, num_samples, problems.params, keys,
    prompt, problems.noise_of(ids), problems.stop,
  )  # fmt: skip
  tokens, lengths, reasons = map(
    np.asarray, (drawn.tokens, drawn.lengths, drawn.finish_reasons)
  )
  scores = []
  for row, i in enumerate(ids):
    graded = [
      problems.answer(int(i), tokens[row, n, : lengths[row, n]], int(reason))
      for n, reason in enumerate(reasons[row])
    ]
    scores.append(commonest(graded, problems.same))
  read = np.asarray(prompt.lengths) + np.maximum(lengths - 1, 0).sum(axis=1)
  return np.asarray(scores, np.float32), read


def commonest(
  answers: list[tuple[Hashable, bool]],
  same: Callable[[Hashable, Hashable], bool] = operator.eq,
) -> bool:
  """Whether the answer that most gave is right; the first one of equals.

  Args:
    answers: what each sample says, None for nothing, and whether it is right.
    same: whether two of them are one answer.

  Returns:
    Of the first sample that gave it; False if none says anything.
  """
  counts, is_right = Counter(), {}
  for answer, right in answers:
    if answer is None:
      continue
    name = next((name for name in counts if same(name, answer)), answer)
    counts[name] += 1
    is_right.setdefault(name, right)
  return bool(counts) and is_right[counts.most_common(1)[0][0]]
