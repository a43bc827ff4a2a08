"""Context, batch and turns: mixes against single axes (2511.15738)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, scaling, search, tasks
from ttc.claims.claim import Claim, difference, interval, low, signed, text
from ttc.testbeds.calibrated import unseen
from ttc.testbeds.refiner import END, EQUALS, TASK, refiner
from ttc.testbeds.revision import LENGTH, MODEL

CAPACITY = LENGTH + 4
NUM_PROBLEMS, COST = 256, 64
GRID = scaling.Axes((1, 2, 4, 8), (1, 2, 4, 8, 16), (1, 2, 4, 8))
CONTROL = scaling.Axes((8,), (1, 4), (1, 8))


def measure(seed, size, cache):
  """Correctness on the grid, in the control, and along two of the axes."""
  params = refiner(seed, size, cache).params
  num_problems = size.problems(NUM_PROBLEMS)
  data_key, key = jax.random.split(jax.random.key(880 + seed))
  problems = unseen(TASK, data_key, num_problems)
  nothing = jnp.full((num_problems,), -1)

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

  along = lambda axes: drive(axes)[0, 0, 0]
  return {
    'accuracy': drive(GRID),
    'control': drive(CONTROL, lambda answers: nothing),
    'batch': along(scaling.Axes((1,), (COST,), (1,))),
    'turns': along(scaling.Axes((1,), (1,), (COST,))),
  }


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
    jax.random.split(key, seen.size),
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


def derive(data):
  """Mixes chosen on one half of the problems and measured on the other."""
  accuracy = data['accuracy']
  cost = np.prod(np.meshgrid(*GRID, indexing='ij'), axis=0)
  chosen_on = np.arange(accuracy.shape[-1]) % 2 == 0
  half = accuracy[..., chosen_on]
  result = scaling.ThreeAxes(half, half, cost, cost > 0)
  index = np.indices(cost.shape)
  inside = scaling.best_mix(result, COST, np.all(index > 0, axis=0))
  two = scaling.best_mix(result, COST, np.sum(index > 0, axis=0) == 2)
  held_out = accuracy[..., ~chosen_on]
  gain = lambda x: difference(x[..., -1, :].mean(0), x[..., 0, :].mean(0))
  return {
    'cost': cost,
    'inside': inside,
    'two': two,
    'mix': held_out[inside],
    'mix of two': held_out[two],
    'pure': {
      'context': held_out[-1, 0, 0],  # all that it can use
      'batch': data['batch'][~chosen_on],
      'turn': data['turns'][~chosen_on],
    },
    'used': gain(accuracy[-1, [0, 2]]),  # the cells of the control
    'ignoring': gain(data['control'][0]),
  }


def name_of(cell):
  """Context x batch x turns."""
  return ' x '.join(str(axis[i]) for axis, i in zip(GRID, cell, strict=True))


def figure(data):
  """The mix beside single axes and the best mix of two; the Pareto front."""
  mix, accuracy, cost = data['mix'], data['accuracy'], data['cost']
  front = scaling.pareto_front(cost, accuracy.mean(axis=-1))
  cells = zip(*np.nonzero(front), strict=True)
  cells = sorted(cells, key=lambda cell: cost[cell])
  return (
    f'mix {name_of(data["inside"])} {interval(mix)}; against '
    + ', '.join(
      f'{axis} alone ({100 * x.mean():.1f}) {signed(difference(mix, x))}'
      for axis, x in data['pure'].items()
    )
    + f'; against the best mix of two axes, {name_of(data["two"])}, '
    f'{signed(difference(mix, data["mix of two"]))}; Pareto front '
    + ', '.join(
      f'{name_of(cell)}: {100 * accuracy[cell].mean():.1f}' for cell in cells
    )
  )


def beats_all(data):
  """With the whole interval."""
  return all(low(difference(data['mix'], x)) > 0 for x in data['pure'].values())


def needs_its_input(data):
  """Turns gain, and gain nothing when what they refine is ignored."""
  ignoring = data['ignoring']
  return (
    low(data['used']) > 0 and abs(ignoring.mean) < 3 * ignoring.standard_error
  )


CLAIM = Claim(
  f'three_axes (S3, thinking x batch x turns, product cost {COST})',
  '2511.15738',
  'at equal product cost an interior mix beats each pure axis',
  measure,
  checks=[text(figure, beats_all)],
  controls=[
    text(
      lambda d: (
        '8 turns against 1, 8 tokens and a batch of 1 or 4: '
        f'{signed(d["used"])}; with a refiner that ignores its input '
        f'{signed(d["ignoring"])}'
      ),
      needs_its_input,
    )
  ],
  derive=derive,
  axis=-1,
)
