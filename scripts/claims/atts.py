"""A small model drafts turns, a large one takes over the worst (2509.15148)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import LENGTH, NOISE, train_pair
from claims.row import Row, difference, interval, signed, standard_error
from ttc import models, sampling, scaling, search, tasks

NUM_GROUPS, GROUP = 64, 16  # of problems, of a seed; each calibrates the others
NUM_TURNS, TURN_TOKENS, TAU = 4, 2, 0.6
NUM_CHAINS, BUDGETS = 8, (0, 4, 8, 16)  # takeovers of a problem
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)


class Run(NamedTuple):
  """By problem; by turn and problem where there are two axes."""

  right: np.ndarray
  tested: np.ndarray
  rejected: np.ndarray
  expected: np.ndarray  # chance of a rejection, by the exact law


def reproduce(num_seeds: int) -> Row:
  """Rates, accuracy between the two models, and time without a barrier."""
  by_seed = [
    run_seed(seed, *map(str, pair))
    for seed, pair in enumerate(train_pair(num_seeds))
  ]
  own, first, chance, draft, target, budgets, times = jax.tree.map(
    lambda *x: np.concatenate(x, axis=-1), *by_seed
  )
  off = [rate_off(own, turn) for turn in range(NUM_TURNS)]
  drift = [rate_off(first, turn) for turn in range(NUM_TURNS)]
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
  """Rejections less what the law says, per tested turn; s.e. over groups."""
  of_group = lambda x: x[turn].reshape(-1, GROUP).sum(axis=1)
  off = of_group(run.rejected) - of_group(run.expected)
  tested = of_group(run.tested)
  error = off.std(ddof=1) * off.size**0.5 / tested.sum()
  return off.sum() / tested.sum(), error


def run_seed(seed, target_directory, draft_directory):
  """All runs with the pair of one seed."""
  target, draft = map(models.load, (target_directory, draft_directory))
  data_key, *keys = jax.random.split(jax.random.key(800 + seed), 6)
  size = NUM_GROUPS * GROUP
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(jax.random.split(data_key, size))
  prompt = tasks.to_prompt(problems)
  stop = sampling.stop_rules(TASK.vocab_size, [TASK.eos_id])
  keys = [jax.random.split(key, size) for key in keys]
  right = lambda y: np.asarray(tasks.score_fn(TASK, problems)(prompt, y))

  @functools.partial(jax.jit, static_argnums=2)
  def run(keys, calibration, num_chains, max_takeovers):
    return search.atts(
      (target.params, draft.params),
      keys,
      prompt,
      calibration,
      num_chains,
      NUM_TURNS,
      TURN_TOKENS,
      target=target.model,
      draft=draft.model,
      stop=stop,
      tau=TAU,
      max_takeovers=max_takeovers,
    )

  def summary(out, calibration):
    turns = jax.tree.map(lambda x: np.asarray(x[..., 0]), out.turns)
    count = np.asarray(calibration.num_scores).T  # [turns, problems]
    expected = turns.tested * search.rank_test_rate(count, TAU)
    return Run(
      right(out.generation)[:, 0], turns.tested, turns.taken_over, expected
    )

  # Turn by turn: the chains of the others of a group calibrate a turn once all
  # turns before it are calibrated. So all of a group are exchangeable.
  no_limit = 10**6
  calibration = never(size)
  for turn in range(NUM_TURNS):
    out = run(keys[0], calibration, 1, no_limit)
    calibration = jax.tree.map(
      lambda x, new, turn=turn: x.at[:, turn].set(new),
      calibration,
      from_the_others(
        out.turns.scores[turn, :, 0], out.turns.tested[turn, :, 0]
      ),
    )
  out = run(keys[0], calibration, 1, no_limit)
  own = summary(out, calibration)

  only_first = jax.tree.map(
    lambda x: jnp.broadcast_to(x[:, :1], x.shape), calibration
  )
  first = summary(run(keys[0], only_first, 1, no_limit), only_first)
  by_chance = random_calibration(keys[1])
  chance = summary(run(keys[0], by_chance, 1, no_limit), by_chance)
  alone = run(keys[0], never(size), 1, no_limit)
  plain = jax.jit(
    lambda keys: sampling.generate(
      target.params,
      keys,
      prompt,
      1,
      model=target.model,
      capacity=TASK.response_length,
      stop=stop,
    )
  )(keys[2])

  many = [run(keys[3], calibration, NUM_CHAINS, b) for b in BUDGETS]
  budgets = np.stack([right(y.generation).mean(axis=1) for y in many])
  turns = run(keys[3], calibration, NUM_CHAINS, no_limit).turns
  per_token = models.num_params(target.params) / models.num_params(draft.params)
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
    right(alone.generation)[:, 0],
    right(plain)[:, 0],
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


@jax.jit
def from_the_others(scores, tested):
  """Of one turn: each problem is calibrated by the others of its group."""

  def in_group(scores, tested):
    others = ~jnp.eye(GROUP, dtype=bool)
    calibrate = lambda mask: search.calibrate(scores, mask & tested, GROUP)
    return jax.vmap(calibrate)(others)

  grouped = lambda x: x.reshape(NUM_GROUPS, GROUP)
  made = jax.vmap(in_group)(grouped(scores), grouped(tested))
  return jax.tree.map(lambda x: x.reshape(-1, GROUP), made)
