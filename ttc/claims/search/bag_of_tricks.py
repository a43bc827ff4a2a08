"""Temperature, top-p and method at equal tokens (Liu et al., 2025)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import sampling, scaling, search, tasks
from ttc.claims.claim import (
  Claim,
  curve,
  difference,
  interval,
  listed,
  signed,
  text,
)
from ttc.tasks import text_task
from ttc.testbeds.smollm2 import load, load_tokenizer, pad
from ttc.types import Samples

FAMILIES = ('addition_2digit', 'times_table')
NUM_PROBLEMS = 10  # of a seed and family
TEMPERATURES = (0.2, 0.5, 0.8, 1.1, 1.5)
TOP_PS = (1.0, 0.9)
TRICKS = tuple(itertools.product(TEMPERATURES, TOP_PS))
NUM_SAMPLES, BUDGET = 12, 8  # drawn of each trick, spent by a method
MAX_NEW_TOKENS = 5  # a blank, three digits and the end of the line
BATCH_SIZE, PROMPT_LENGTH = 4, 128
NAMES = (
  'pass@1',
  'majority',
  'best log-probability',
  'weighted vote',
  'coverage',
)
_WEIGHTED = search.weighted_vote(search.minmax_weights)


def measure(seed, size, cache):
  """Samples of all tricks, one trick after another, and the gold answers."""
  del cache
  return draw(seed, size.problems(NUM_PROBLEMS))


def draw(seed, num_problems):
  """Samples of all tricks, one trick after another, and the gold answers."""
  tokenizer, drawn, gold = load_tokenizer(), [], []
  for name in FAMILIES:
    task = tasks.load(name, num_items=num_problems, seed=seed)
    gold += [int(item.answer) for item in task.items]
    prompts = [tokenizer.prompt(task.prompt(item)) for item in task.items]
    # The last batch is filled up; its last prompts are dropped again.
    prompts += prompts[: -len(prompts) % BATCH_SIZE]
    for i in range(0, len(prompts), BATCH_SIZE):
      batch = prompts[i : i + BATCH_SIZE]
      prompt = pad(batch, PROMPT_LENGTH)
      key = jax.random.fold_in(jax.random.key(900 + seed), len(drawn))
      generation = jax.device_get(sample(load().params, key, prompt))
      samples = search.observe(prompt, generation)
      read_answers = np.vectorize(
        lambda ids, n: answer_of(tokenizer, ids[:n]), signature='(t),()->()'
      )
      answers = read_answers(generation.tokens, generation.lengths)
      drawn.append(samples._replace(answers=answers))
    excess = len(prompts) - num_problems
    drawn[-1] = jax.tree.map(lambda x, n=excess: x[: BATCH_SIZE - n], drawn[-1])
  joined = jax.tree.map(
    lambda *x: np.concatenate([np.asarray(leaf) for leaf in x]), *drawn
  )
  return {'samples': Samples(*joined)._asdict(), 'gold': np.array(gold)}


@jax.jit
def sample(params, key, prompt):
  """The prompts are read once for all tricks."""
  model = load().model
  each = lambda values: jnp.repeat(jnp.array(values), NUM_SAMPLES)
  temperatures, top_ps = zip(*TRICKS, strict=True)
  return sampling.generate(
    params,
    jax.random.split(key, BATCH_SIZE),
    prompt,
    len(TRICKS) * NUM_SAMPLES,
    model=model,
    capacity=MAX_NEW_TOKENS,
    stop=sampling.stop_at_texts(load_tokenizer(), model.vocab_size, ['\n']),
    sampling=sampling.SamplingParams(
      temperature=each(temperatures), top_p=each(top_ps)
    ),
  )


def answer_of(tokenizer, ids):
  """The number on the first line, -1 if there is none."""
  text = text_task.cut(tokenizer.decode(ids.tolist()), ['\n']).strip()
  return int(text) if text.isdecimal() and len(text) < 6 else -1


def derive(data):
  """What each method makes of each trick, and of tricks that are permuted."""
  samples, gold = Samples(**data['samples']), data['gold']
  # Labels of temperature and top-p permuted over the samples of a problem.
  rng = np.random.default_rng(0)
  order = rng.permuted(
    np.broadcast_to(np.arange(samples.answers.shape[1]), samples.answers.shape),
    axis=1,
  )
  mixed = jax.tree.map(lambda x: np.take_along_axis(x, order, axis=1), samples)
  scores = {t: outcomes(samples, gold, i) for i, t in enumerate(TRICKS)}
  at = lambda name: np.stack([scores[t, 1.0][name] for t in TEMPERATURES])
  blind = np.stack(
    [
      outcomes(mixed, gold, i)['majority']
      for i, (_, top_p) in enumerate(TRICKS)
      if top_p == 1
    ]
  )
  order = blind.mean(axis=1)
  return {
    'at': {name: at(name) for name in (*NAMES, 'tokens')},
    'best': {
      name: int(np.argmax(at(name).mean(axis=1)))
      for name in ('pass@1', 'majority', 'coverage')
    },
    'top p': [
      difference(scores[t, 0.9]['majority'], scores[t, 1.0]['majority'])
      for t in TEMPERATURES
    ],
    'blind': difference(blind[order.argmax()], blind[order.argmin()]),
  }


def outcomes(samples, gold, trick):
  """What each method makes of the samples of one trick, by problem."""
  part = slice(trick * NUM_SAMPLES, (trick + 1) * NUM_SAMPLES)
  own = jax.tree.map(lambda x: x[:, part], samples)
  right = own.answers == gold[:, None]
  accuracy = lambda select: curve(select, own, gold, [BUDGET]).accuracy[:, 0]
  return {
    'pass@1': right.mean(axis=1),
    'majority': accuracy(search.majority_vote),
    'best log-probability': accuracy(search.select_best),
    'weighted vote': accuracy(_WEIGHTED),
    'coverage': np.asarray(
      scaling.pass_at_k(NUM_SAMPLES, right.sum(axis=1), BUDGET)
    ),
    'tokens': own.lengths.mean(axis=1),
  }


def by_temperature(data):
  """Of each method."""
  return '; '.join(
    f'{name} by T={TEMPERATURES}: {listed(data["at"][name].mean(axis=1))}'
    for name in NAMES
  )


def figure(data):
  """The best temperatures, the ends, top-p and tokens."""
  best, votes = data['best'], data['at']['majority']
  top = best['majority']
  ends = [difference(votes[top], votes[i]) for i in (0, -1)]
  tokens = ', '.join(
    f'{BUDGET * spent.mean() / v.mean():.0f}'
    for spent, v in zip(data['at']['tokens'], votes, strict=True)
  )
  return (
    f'best T of pass@1 {TEMPERATURES[best["pass@1"]]}, of the vote '
    f'{TEMPERATURES[top]} ({interval(votes[top])}, to the lowest T '
    f'{signed(ends[0])}, to the highest {signed(ends[1])}), of coverage '
    f'{TEMPERATURES[best["coverage"]]}; top-p .9 instead of 1, vote: '
    f'{", ".join(signed(gap) for gap in data["top p"])}; tokens per right '
    f'vote: {tokens}'
  )


def is_inside(data):
  """The best temperature of votes; that of coverage is above pass@1's."""
  best = data['best']
  return (
    0 < best['majority'] < len(TEMPERATURES) - 1
    and best['coverage'] > best['pass@1']
  )


CLAIM = Claim(
  f'bag_of_tricks (SmolLM2-135M, {", ".join(FAMILIES)}, {BUDGET} samples)',
  '2502.07191',
  'the vote is best at a temperature between the ends, and coverage at a '
  'higher one than one sample',
  measure,
  checks=[text(by_temperature), text(figure, is_inside)],
  controls=[
    text(
      lambda d: (
        'temperatures permuted over the samples: best against worst vote '
        f'{signed(d["blind"])}'
      )
    )
  ],
  derive=derive,
)
