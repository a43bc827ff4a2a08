"""Context, batch and turns: mixes against single axes (2511.15738)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.revision_world import LENGTH, MODEL, attempt, train
from claims.row import Row, difference, interval, signed
from ttc import evaluation, models, sampling, scaling, search, tasks

NOISE, FRESH, KEEP = 0.1, 0.05, 0.6  # errors at first, of a revision; copies
TASK = tasks.permutation_word_problem('s3', LENGTH)
EQUALS, END = TASK.words.index('='), TASK.vocab_size  # END of the thinking
CAPACITY = LENGTH + 4
NUM_PROBLEMS, COST = 256, 64
GRID = scaling.Axes((1, 2, 4, 8), (1, 2, 4, 8, 16), (1, 2, 4, 8))
CONTROL = scaling.Axes((8,), (1, 4), (1, 8))


def reproduce(num_seeds: int) -> Row:
  """At equal product cost an interior mix beats every single axis."""
  thinkers = train(sequence, 'thinker', num_seeds)
  by_seed = [run_seed(params, seed) for seed, params in enumerate(thinkers)]
  join = lambda *parts: np.concatenate(parts, axis=-1)
  accuracy, control, batch, turns = map(join, *by_seed)
  cost = np.prod(np.meshgrid(*GRID, indexing='ij'), axis=0)
  # Chosen on one half of the problems and measured on the other.
  chosen_on = np.arange(accuracy.shape[-1]) % 2 == 0
  result = scaling.ThreeAxes(
    accuracy[..., chosen_on], accuracy[..., chosen_on], cost, cost > 0
  )
  index = np.indices(cost.shape)
  inside = scaling.best_mix(result, COST, np.all(index > 0, axis=0))
  two = scaling.best_mix(result, COST, np.sum(index > 0, axis=0) == 2)
  held_out = accuracy[..., ~chosen_on]
  pure = {
    'context': held_out[-1, 0, 0],  # all that it can use
    'batch': batch[~chosen_on],
    'turn': turns[~chosen_on],
  }
  mix = held_out[inside]
  gaps = {name: difference(mix, x) for name, x in pure.items()}
  low = lambda gap: evaluation.confidence_interval(gap)[0]
  name = lambda cell: ' x '.join(
    str(axis[i]) for axis, i in zip(GRID, cell, strict=True)
  )
  front = scaling.pareto_front(cost, accuracy.mean(axis=-1))
  front_cells = zip(*np.nonzero(front), strict=True)
  front_cells = sorted(front_cells, key=lambda cell: cost[cell])
  gain = lambda x: difference(x[..., -1, :].mean(0), x[..., 0, :].mean(0))
  used = gain(accuracy[-1, [0, 2]])  # the cells of the control
  ignoring = gain(control[0])
  return Row(
    f'three_axes (S3, thinking x batch x turns, product cost {COST})',
    'at equal product cost an interior mix beats each pure axis',
    f'mix {name(inside)} {interval(mix)}; against '
    + ', '.join(
      f'{axis} alone ({100 * pure[axis].mean():.1f}) {signed(gap)}'
      for axis, gap in gaps.items()
    )
    + f'; against the best mix of two axes, {name(two)}, '
    f'{signed(difference(mix, held_out[two]))}; Pareto front '
    + ', '.join(
      f'{name(cell)}: {100 * accuracy[cell].mean():.1f}' for cell in front_cells
    ),
    f'8 turns against 1, 8 tokens and a batch of 1 or 4: {signed(used)}; with '
    f'a refiner that ignores its input {signed(ignoring)}',
    bool(
      all(low(gap) > 0 for gap in gaps.values())
      and abs(ignoring.mean) < 3 * ignoring.standard_error
      and low(used) > 0
    ),
  )


def run_seed(params, seed):
  """Correctness on the grid, in the control, and along two of the axes."""
  key = jax.random.key(880 + seed)
  data_key, key = jax.random.split(key)
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(
    jax.random.split(data_key, NUM_PROBLEMS)
  )
  nothing = jnp.full((NUM_PROBLEMS,), -1)

  def drive(axes, refine_fn=lambda answers: answers):
    return scaling.three_axes(
      key,
      axes,
      nothing,
      lambda key, seen, context, batch: call(
        params, key, problems, seen, context, batch
      ),
      vote,
      refine_fn,
      lambda answers: answers == problems.answer,
    ).accuracy

  return (
    drive(GRID),
    drive(CONTROL, lambda answers: nothing),
    drive(scaling.Axes((1,), (COST,), (1,)))[0, 0, 0],
    drive(scaling.Axes((1,), (1,), (COST,)))[0, 0, 0],
  )


@functools.partial(jax.jit, static_argnums=5)
def call(params, key, problems, seen, context, batch):
  """Answers of `batch` samples that think for `context` tokens."""
  model = models.transformer(MODEL)
  prompt = tasks.to_prompt(problems)
  answer = jnp.stack([3 + seen, jnp.full_like(seen, EQUALS)], axis=1)
  prompt = prompt._replace(
    tokens=jnp.concatenate([prompt.tokens, answer], axis=1),
    lengths=prompt.lengths + 2 * (seen >= 0),
  )
  samples = sampling.generate(
    params,
    jax.random.split(key, NUM_PROBLEMS),
    prompt,
    batch,
    model=model,
    capacity=CAPACITY,
    stop=sampling.stop_rules(MODEL.vocab_size, [TASK.eos_id]),
    controller=search.budget_forcing(
      END, end=[END], cut=[END], wait=[EQUALS], budget=context
    ),
  )
  tokens = jnp.sum(samples.lengths, axis=1)
  return tasks.answer_fn(TASK, problems)(prompt, samples), tokens


@jax.jit
def vote(answers):
  """The most frequent answer of each problem."""
  ones = jnp.ones(answers.shape)
  totals = jax.vmap(search.tally)(answers, ones, answers >= 0)
  return jax.vmap(search.winner)(answers, totals)


def sequence(key):
  """`word = [answer =] thoughts END answer EOS`, and what to learn of it.

  Half see an answer; then the trace errs half as often, and the answer is the
  one seen with probability .6. Half of the thinking is cut at random, with END
  given.
  """
  keys = jax.random.split(key, 7)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  sees = jax.random.bernoulli(keys[1])
  seen = attempt(keys[2], problem, NOISE)[LENGTH - 1]
  trace = attempt(keys[3], problem, jnp.where(sees, FRESH, NOISE))
  keeps = sees & jax.random.bernoulli(keys[4], KEEP)
  answer = jnp.where(keeps, seen, trace[LENGTH - 1])
  whole = jax.random.bernoulli(keys[5])
  cut = jax.random.randint(keys[6], (), 1, LENGTH + 1)
  m = jnp.where(whole, LENGTH, cut)
  t = jnp.arange(LENGTH + 3)
  response = jnp.where(t < m, trace[jnp.minimum(t, LENGTH - 1)], 0)
  for offset, token in enumerate((END, answer, TASK.eos_id)):
    response = jnp.where(t == m + offset, token, response)
  learned = (t < m + 3) & ((t != m) | (m == LENGTH))
  start = problem.prompt.size
  given = jnp.concatenate([problem.prompt, jnp.stack([seen, EQUALS])])
  place = jnp.arange(given.size + response.size)
  behind = place - jnp.where(sees, start + 2, start)
  at = lambda x: x[jnp.clip(behind, 0, response.size - 1)]
  is_response = (behind >= 0) & (behind < response.size)
  prefix = jnp.pad(given, (0, response.size))
  return (
    jnp.where(is_response, at(response), jnp.where(behind < 0, prefix, 0)),
    is_response & at(learned),
  )
