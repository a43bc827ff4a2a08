r"""MRT: every episode of a stream of thought should bring the answer nearer.

Qu et al., "Optimizing Test-Time Compute via Meta Reinforcement Fine-Tuning",
arXiv 2503.07572. A stream is cut into `k` episodes. At the end of each the
model is made to stop and answer; `J_j`, the chance that it is right after `j`
episodes, is what they were good for, and

.. math:: r^{prg}_j = J_{j + 1} - J_j

the progress of an episode. Over a stream these sum to `J_k - J_0`: as one
scalar at its end they say nothing of useless episodes. The pressure comes from
rewarding the NEXT episode behind a sampled prefix, or each episode by itself.
With an answer of one token `J_j` is exact. Costs `k` passes over a stream more.

Axes besides those of `types`: `K` prefixes of a stream, `A` answers of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc import sampling as engine
from ttc.finetuning.rollouts import response_log_probs
from ttc.models.base import LanguageModel
from ttc.types import Generation, Params, Prompt

# What opens a new episode of text, as in the released code.
TURNS = (
  'Wait',
  'But wait',
  'Alternatively',
  'Is there another way to think about this?',
  'But let me double-check',
  'But hold on',
)


def text_episodes(
  text: str,
  *,
  max_boundaries: int = 49,
  group_size: int = 1,
  min_paragraphs: int = 3,
  turns: Sequence[str] = TURNS,
) -> list[str]:
  """Cuts a stream of thought where it turns.

  Args:
    text: paragraphs with blank lines between them.
    max_boundaries: what is behind so many is one episode. 49, 45 or 99 in the
      released code, by data set.
    group_size: so many episodes in a row are one; 5, 3 or 10 there.
    min_paragraphs: of an episode before the next may begin.
    turns: beginnings of the paragraph that opens an episode.

  Returns:
    The episodes, which joined by blank lines are the text.
  """
  episodes: list[list[str]] = [[]]
  for paragraph in text.split('\n\n'):
    turns_here = paragraph.strip().startswith(tuple(turns))
    long_enough = len(episodes[-1]) >= min_paragraphs
    if turns_here and long_enough and len(episodes) <= max_boundaries:
      episodes.append([])
    episodes[-1].append(paragraph)
  return [
    '\n\n'.join(p for episode in episodes[i : i + group_size] for p in episode)
    for i in range(0, len(episodes), group_size)
  ]


def prefix_lengths(
  tokens: Int[Array, '*A T'],
  lengths: Int[Array, '*A'],
  ends_step: Bool[Array, ' V'],
  num_prefixes: int,
  steps_per_episode: int = 1,
) -> Int[Array, '*A K']:
  """Tokens of a stream up to the end of each of its episodes.

  Args:
    tokens: of streams.
    lengths: how many of them count, without what closes the thinking.
    ends_step: tokens that end a step.
    num_prefixes: `K`; the first is empty. Static.
    steps_per_episode: `c`; static.

  Returns:
    The lengths. Steps behind the last whole episode are one more; a stream with
    fewer episodes repeats its own length.
  """
  T = tokens.shape[-1]
  counts = ends_step[tokens] & (jnp.arange(T) < lengths[..., None])
  done = jnp.cumsum(counts, axis=-1)
  wanted = steps_per_episode * jnp.arange(num_prefixes)
  before = done[..., None, :] < wanted[:, None]
  first = jnp.sum(before, axis=-1) + 1  # the token that reaches the number
  first = jnp.where(wanted == 0, 0, first)
  return jnp.minimum(first, lengths[..., None]).astype(jnp.int32)


def with_cue(
  tokens: Int[Array, '*A T'],
  kept: Int[Array, '*A'],
  cue: Int[Array, ' C'],
) -> Int[Array, '*A S']:
  """Prefixes with the cue to answer behind them; `S = T + C`."""
  C = cue.shape[0]
  place = jnp.arange(tokens.shape[-1] + C)
  behind = place - kept[..., None]
  padded = jnp.pad(tokens, [(0, 0)] * (tokens.ndim - 1) + [(0, C)])
  closing = jnp.append(cue, 0)[jnp.clip(behind, 0, C)]
  return jnp.where(behind < 0, padded, closing).astype(jnp.int32)


def exact_values(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  tokens: Int[Array, 'P G T'],
  kept: Int[Array, 'P G K'],
  cue: Int[Array, ' C'],
  answer: Int[Array, ' P'],
  temperature: Float[Array, ''] | float = 1.0,
) -> Float[Array, 'P G K']:
  """`J`: the chance of the right answer, one token, behind each prefix.

  No gradient passes: the answerer is the old policy.

  Args:
    model: static.
    params: of the answerer.
    prompt: of `P` problems.
    tokens: streams.
    kept: length of each prefix.
    cue: forced behind a prefix: "time is up".
    answer: the right token.
    temperature: of the answer.

  Returns:
    The values.
  """
  P, G, K = kept.shape
  cues = jnp.append(cue, 0)
  rows = with_cue(
    jnp.broadcast_to(tokens[:, :, None], (P, G, K, tokens.shape[-1])),
    kept,
    cues,
  ).reshape(P, G * K, -1)
  at = (kept + cue.shape[0]).reshape(P, G * K, 1)
  rows = jnp.where(
    jnp.arange(rows.shape[-1]) == at, answer[:, None, None], rows
  )
  log_probs = response_log_probs(model, params, prompt, rows, temperature)
  values = jnp.take_along_axis(log_probs, at, axis=-1)
  return jax.lax.stop_gradient(jnp.exp(values)).reshape(P, G, K)


def forced_answers(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' P'],
  prompt: Prompt,
  tokens: Int[Array, 'P K T'],
  kept: Int[Array, 'P K'],
  cue: Int[Array, ' C'],
  num_answers: int,
  *,
  capacity: int,
  stop: engine.StopRules,
  sampling: engine.SamplingParams = engine.SamplingParams(  # noqa: B008
    temperature=0.7, top_p=0.95
  ),
) -> Generation:
  """Answers of several tokens, forced behind each prefix.

  Answer `a` has the same randomness behind every prefix, so that differences
  between neighbours are less noisy.

  Args:
    model: static.
    params: of the answerer.
    keys: one per problem; consumed.
    prompt: of `P` problems.
    tokens: a stream for each prefix.
    kept: length of each prefix.
    cue: forced behind a prefix.
    num_answers: `A`, 8 in the released code, 16 for figures; static.
    capacity: most tokens of an answer; static.
    stop: what ends one.
    sampling: the law of a draw.

  Returns:
    `[P, K A]` answers without their prefixes, `A` for each prefix in turn.
  """
  P, K, T = tokens.shape
  A, C = num_answers, cue.shape[0]
  rows = jnp.repeat(with_cue(tokens, kept, cue), A, axis=1)
  state = engine.prefill(model, params, prompt, K * A, T + C + capacity)
  state = engine.extend(
    model, params, state, rows, jnp.repeat(kept + C, A, axis=1)
  )
  return engine.sample(
    model,
    params,
    keys,
    state,
    stop,
    sampling=sampling,
    max_new_tokens=capacity,
    sample_ids=jnp.tile(jnp.arange(A), (P, K)),
  ).generation


def progress(values: Float[Array, '*A K']) -> Float[Array, '*A K-1']:
  """What each episode brought: `J_{j + 1} - J_j`."""
  return values[..., 1:] - values[..., :-1]


def normalised_regret(
  lengths: Float[Array, ' K'] | Int[Array, ' K'],
  values: Float[Array, ' K'],
  budget: Float[Array, ''] | float | int,
) -> Float[Array, '']:
  r"""Area above the curve of values over tokens, as a share of the budget.

  .. math:: 1 - \frac1C \int_0^C J(t)\, dt

  with `J` the polyline from (0, 0) through the points, held flat behind the
  last. The answer's own tokens belong to the lengths.

  Args:
    lengths: tokens up to each value, not falling; prefix and answer.
    values: `J_j` there.
    budget: `C`, in tokens.

  Returns:
    The regret, from 0 to 1.
  """
  origin = jnp.zeros(1, jnp.float32)
  t = jnp.append(origin, jnp.asarray(lengths, jnp.float32))
  J = jnp.append(origin, jnp.asarray(values, jnp.float32))
  budget = jnp.asarray(budget, jnp.float32)
  at_budget = jnp.interp(budget, t, J)
  inside = t <= budget
  t = jnp.append(jnp.where(inside, t, budget), budget)
  J = jnp.append(jnp.where(inside, J, at_budget), at_budget)
  return 1.0 - jnp.sum((t[1:] - t[:-1]) * (J[1:] + J[:-1])) / (2.0 * budget)


def majority_from(
  key: PRNGKeyArray,
  answers: Int[Array, ' A'],
  log_probs: Float[Array, ' A'],
  gold: Int[Array, ''],
  size: int,
  num_draws: int = 200,
) -> Float[Array, '']:
  """maj@k of the answers behind one prefix: a vote over random subsets.

  Args:
    key: random key, consumed.
    answers: ids, -1 for none, which gets no vote.
    log_probs: mean over an answer's tokens; its vote weighs 2 to that power.
    gold: the right id.
    size: `k`; static.
    num_draws: subsets; static.

  Returns:
    The share of subsets whose vote is right, ties half.

  Raises:
    ValueError: if there are not so many answers.
  """
  if not 1 <= size <= answers.shape[0]:
    raise ValueError(f'{size=} is not in [1, {answers.shape[0]}]')
  weights = jnp.where(answers < 0, 0.0, 2.0**log_probs)
  same = answers[:, None] == answers

  def vote(key):
    taken = jax.random.permutation(key, answers.shape[0])[:size]
    mine = jnp.zeros(answers.shape, jnp.float32).at[taken].set(weights[taken])
    totals = jnp.where(mine > 0, same @ mine, -1.0)
    right = jnp.max(jnp.where(answers == gold, totals, -1.0))
    other = jnp.max(jnp.where(answers == gold, -1.0, totals))
    tied = jnp.isclose(right, other) & (right > 0)
    return jnp.where(tied, 0.5, (right > other).astype(jnp.float32))

  return jnp.mean(jax.vmap(vote)(jax.random.split(key, num_draws)))


class StarChoice(NamedTuple):
  """What MRT-STaR learns of a stream."""

  is_kept: Bool[Array, '*A']
  prefix: Int[Array, '*A']  # cut there, and closed by a right answer


def star_choice(
  values: Float[Array, '*A K'],
  is_right: Bool[Array, '*A'],
  tolerance: float = 1e-6,
) -> StarChoice:
  """Streams that end right and whose episodes all make progress.

  Args:
    values: `J` behind each prefix.
    is_right: whether the stream's own answer is.
    tolerance: by which a value may fall.

  Returns:
    Which are kept: `J` does not fall up to its maximum, which is above `J_0`;
    and the first prefix at which it is largest.
  """
  best = jnp.argmax(values, axis=-1)
  steps = jnp.arange(values.shape[-1] - 1) < best[..., None]
  falls = jnp.any(steps & (progress(values) < -tolerance), axis=-1)
  return StarChoice(is_right & ~falls & (best > 0), best.astype(jnp.int32))


def random_prefix(
  key: PRNGKeyArray,
  prompt: Prompt,
  tokens: Int[Array, 'P T'],
  kept: Int[Array, 'P K'],
) -> tuple[Prompt, Int[Array, ' P']]:
  """Prompts with a prefix of a stale stream behind them, to go on from.

  Args:
    key: random key, consumed.
    prompt: of `P` problems.
    tokens: a stream of each.
    kept: lengths of its prefixes, whole episodes; the last is the whole stream
      and is not drawn.

  Returns:
    The longer prompts, and which prefix each has.
  """
  P = kept.shape[0]
  # Only prefixes with an episode behind them.
  count = jnp.sum(kept[:, :-1] < kept[:, -1:], axis=1)
  u = jax.random.uniform(key, (P,), jnp.float32)
  index = jnp.minimum((u * count).astype(jnp.int32), jnp.maximum(count - 1, 0))
  taken = jnp.take_along_axis(kept, index[:, None], axis=1)[:, 0]
  width = prompt.tokens.shape[1] + tokens.shape[1]
  behind = jnp.arange(width) - prompt.lengths[:, None]
  old = jnp.pad(prompt.tokens, ((0, 0), (0, tokens.shape[1])))
  at = jnp.clip(behind, 0, tokens.shape[1] - 1)
  new = jnp.take_along_axis(tokens, at, axis=1)
  new = jnp.where(behind < taken[:, None], new, 0)
  joined = jnp.where(behind < 0, old, new)
  return Prompt(joined, prompt.lengths + taken), index


def episode_advantages(
  outcome: Float[Array, 'P G'],
  values: Float[Array, 'P G K'],
  kept: Int[Array, 'P G K'],
  num_tokens: int,
  alpha: Float[Array, ''] | float = 1.0,
) -> Float[Array, 'P G T']:
  """Online MRT: to each token the outcome, and the progress of its episode.

  Args:
    outcome: advantage of each response.
    values: `J` behind each of its prefixes.
    kept: their lengths.
    num_tokens: `T`; static.
    alpha: weight of the progress; 1 here, {0.2, 1, 5} to sweep.

  Returns:
    Advantages of tokens; behind the last prefix the outcome alone.
  """
  ended = jnp.arange(num_tokens) >= kept[..., 1:, None]
  episode = jnp.sum(ended, axis=-2)
  earned = jnp.pad(progress(values), ((0, 0), (0, 0), (0, 1)))
  bonus = jnp.take_along_axis(earned, episode, axis=-1)
  return outcome[..., None] + alpha * bonus
