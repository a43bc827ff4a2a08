"""A small model drafts turns, a large one takes over the worst (2509.15148)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import LENGTH, NOISE, train_pair
from claims.row import Row, difference, interval, signed, standard_error
from ttc import models, sampling, scaling, search, tasks

NUM_TURNS, TURN_TOKENS, TAU = 5, 2, 0.6
# Blocks of a seed, each of one group of problems to calibrate every turn and
# one to be tested.
NUM_BLOCKS, GROUP = 24, 16
SHAPE = NUM_BLOCKS, NUM_TURNS + 1, GROUP
# Many chains, on fewer problems, with so many takeovers of a problem.
NUM_CHAINS, NUM_FEW, BUDGETS, NO_LIMIT = 8, 256, (0, 4, 8, 16), 10**6
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
STOP = sampling.stop_rules(TASK.vocab_size, [TASK.eos_id])


class Run(NamedTuple):
  """By problem; by turn and problem where there are two axes."""

  right: np.ndarray
  tested: np.ndarray
  rejected: np.ndarray
  expected: np.ndarray  # chance of a rejection, by the exact law


def reproduce(num_seeds: int) -> Row:
  """Rates, accuracy between the two models, and time without a barrier."""
  pairs = [
    [models.load(str(path)) for path in pair] for pair in train_pair(num_seeds)
  ]
  both = [loaded.model for loaded in pairs[0]]  # of one shape: compile once
  by_seed = [
    run_seed(seed, *both, *(loaded.params for loaded in pair))
    for seed, pair in enumerate(pairs)
  ]
  own, first, chance, draft, target, budgets, times = jax.tree.map(
    lambda *x: np.concatenate(x, axis=-1), *by_seed
  )
  turns = range(NUM_TURNS - 1)  # in the last nearly all end
  off = [rate_off(own, turn) for turn in turns]
  drift = [rate_off(first, turn) for turn in turns]
  exact = all(abs(mean) < 3 * error for mean, error in off)
  gap = difference(target, draft)
  gain = difference(own.right, draft)
  share = gain.mean / gap.mean
  to_chance = difference(own.right, chance.right)
  taken = own.rejected.sum() / own.tested.sum()
  by_chance = chance.rejected.sum() / chance.tested.sum()
  ratio = times[0] / times[1]
  z = lambda cells: ', '.join(
    f'{100 * mean:+.1f} ({mean / error:+.1f} s.e.)' for mean, error in cells
  )
  return Row(
    f'atts (S3, L=8; target of noise .1, draft of .2; {NUM_TURNS} turns of '
    f'{TURN_TOKENS} tokens, rank {TAU})',
    'turns are rejected at the exact rate, at least 90% of the gap between '
    'draft and target is closed at 40% takeovers, and no barrier is never '
    'slower',
    f'rejected less the exact rate by turn, in points: {z(off)}; draft '
    f'{interval(draft)}, ATTS {interval(own.right)} with '
    f'{100 * taken:.0f}% of the tested turns taken over, target '
    f'{interval(target)}: {100 * share:.0f}% of the gap closed; '
    + ', '.join(
      f'{b} takeovers for {NUM_CHAINS} chains {interval(x)}'
      for b, x in zip(BUDGETS, budgets, strict=True)
    )
    + f'; time with a barrier to without, {NUM_CHAINS} chains '
    f'{ratio.mean():.2f} (s.e. {standard_error(ratio):.3f})',
    f"by the first turn's calibration: {z(drift)}; turns taken over by chance "
    f'({100 * by_chance:.0f}%) {interval(chance.right)}, ATTS to that '
    f'{signed(to_chance)}',
    bool(
      exact
      and max(abs(mean) / error for mean, error in drift[1:]) > 3
      and gain.mean > 0
      and share >= 0.9
      and np.all(ratio >= 1)
    ),
  )


def rate_off(run, turn):
  """Rejections less what the law says, per tested turn; s.e. over blocks."""
  of_group = lambda x: x[turn].reshape(-1, GROUP).sum(axis=1)
  off = of_group(run.rejected) - of_group(run.expected)
  tested = of_group(run.tested)
  error = off.std(ddof=1) * off.size**0.5 / tested.sum()
  return off.sum() / tested.sum(), error


@functools.partial(jax.jit, static_argnums=(0, 1, 6))
def run_atts(
  target, draft, params, keys, prompt, calibration, num_chains, max_takeovers
):
  """ATTS with the settings of this file."""
  return search.atts(
    params,
    keys,
    prompt,
    calibration,
    num_chains,
    NUM_TURNS,
    TURN_TOKENS,
    target=target,
    draft=draft,
    stop=STOP,
    tau=TAU,
    max_takeovers=max_takeovers,
  )


@functools.partial(jax.jit, static_argnums=0)
def run_alone(target, params, keys, prompt):
  """One response of the target to each problem."""
  size = TASK.response_length
  return sampling.generate(
    params, keys, prompt, 1, model=target, capacity=size, stop=STOP
  )


def run_seed(seed, target, draft, target_params, draft_params):
  """All runs with the pair of one seed."""
  data_key, *keys = jax.random.split(jax.random.key(800 + seed), 5)
  size = int(np.prod(SHAPE))
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(jax.random.split(data_key, size))
  prompt = tasks.to_prompt(problems)
  keys = [jax.random.split(key, size) for key in keys]
  params = target_params, draft_params

  def run(calibration):
    return run_atts(
      target, draft, params, keys[0], prompt, calibration, 1, NO_LIMIT
    )

  def right(y):
    these = jax.tree.map(lambda x: x[: len(y.lengths)], problems)
    return np.asarray(tasks.score_fn(TASK, these)(prompt, y))

  def summary(out, calibration):
    turns = jax.tree.map(lambda x: np.asarray(x[..., 0]), out.turns)
    count = np.asarray(calibration.num_scores).T  # [turns, problems]
    expected = turns.tested * search.rank_test_rate(count, TAU)
    return jax.tree.map(
      of_tested,
      Run(
        right(out.generation)[:, 0], turns.tested, turns.taken_over, expected
      ),
    )

  # Group `r` of a block calibrates turn `r` for the whole block. Up to there it
  # was run like the tested group, so that the scores of both have one law.
  calibration = never(size)
  for turn in range(NUM_TURNS):
    turns = jax.tree.map(lambda x, r=turn: x[r, :, 0], run(calibration).turns)
    calibration = jax.tree.map(
      lambda x, new, r=turn: x.at[:, r].set(new),
      calibration,
      from_group(turn, turns.scores, turns.tested),
    )
  own = summary(run(calibration), calibration)

  only_first = jax.tree.map(
    lambda x: jnp.broadcast_to(x[:, :1], x.shape), calibration
  )
  first = summary(run(only_first), only_first)
  by_chance = random_calibration(keys[1])
  chance = summary(run(by_chance), by_chance)
  alone = run(never(size))
  plain = run_alone(target, target_params, keys[2], prompt)

  few = lambda tree: jax.tree.map(lambda x: x[:NUM_FEW], tree)
  many = [
    run_atts(
      target,
      draft,
      params,
      *few((keys[3], prompt, calibration)),
      NUM_CHAINS,
      limit,
    )
    for limit in (*BUDGETS, NO_LIMIT)
  ]
  budgets = np.stack([right(y.generation).mean(axis=1) for y in many[:-1]])
  turns = many[-1].turns
  per_token = models.num_params(target_params) / models.num_params(draft_params)
  lengths = [
    jnp.moveaxis(x, 0, -1)  # [problems, chains, turns]
    for x in (turns.draft_tokens, per_token * turns.target_tokens)
  ]
  times = jax.vmap(
    lambda d, t: scaling.makespans(scaling.barrier_segments(d, t))
  )(*lengths)
  return (
    own,
    first,
    chance,
    of_tested(right(alone.generation)[:, 0]),
    of_tested(right(plain)[:, 0]),
    budgets,
    np.stack(times),
  )


def never(size):
  """Calibrations by which nothing is rejected, `[size, turns]`."""
  shape = (size, NUM_TURNS, GROUP)
  scores = jnp.full(shape, jnp.inf).at[..., 0].set(1e9)
  arrivals = jnp.full(shape, -1, jnp.int32).at[..., 0].set(0)
  return search.Calibration(scores, arrivals)


def random_calibration(keys):
  """Rejects each turn with the chance that `TAU` leaves, whatever its score."""
  shape = (NUM_TURNS,)
  reject = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - TAU, shape))(keys)
  calm = never(len(keys))
  scores = calm.scores.at[..., 0].set(jnp.where(reject, 0.0, 1e9))
  return calm._replace(scores=scores)


def of_tested(x):
  """The tested groups of all blocks; problems are the last axis."""
  return (
    np.asarray(x)
    .reshape(*x.shape[:-1], *SHAPE)[..., -1, :]
    .reshape(*x.shape[:-1], -1)
  )


@functools.partial(jax.jit, static_argnums=0)
def from_group(group, scores, tested):
  """Calibrations by one group of each block, for all problems of the block."""
  of_group = lambda x: x.reshape(SHAPE)[:, group]
  made = jax.vmap(search.calibrate)(of_group(scores), of_group(tested))
  spread = lambda x: jnp.repeat(x, SHAPE[1] * GROUP, axis=0)
  return jax.tree.map(spread, made)
