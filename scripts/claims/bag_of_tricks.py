"""Temperature, top-p and method at equal tokens (Liu et al., 2025)."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, curve, difference, interval, signed
from ttc import models, sampling, scaling, search, tasks
from ttc.tasks import text_task
from ttc.types import Prompt, Samples

FAMILIES = ('addition_2digit', 'times_table')
NUM_PROBLEMS = 10  # of a seed and family
TEMPERATURES = (0.2, 0.5, 0.8, 1.1, 1.5)
TOP_PS = (1.0, 0.9)
TRICKS = tuple(itertools.product(TEMPERATURES, TOP_PS))
NUM_SAMPLES, BUDGET = 12, 8  # drawn of each trick, spent by a method
MAX_NEW_TOKENS = 5  # a blank, three digits and the end of the line
BATCH_SIZE, PROMPT_LENGTH = 4, 128


def reproduce(num_seeds: int) -> Row:
  """Votes have a best temperature inside, coverage a higher one than pass@1."""
  runs = [draw(seed) for seed in range(num_seeds)]
  samples, gold = jax.tree.map(lambda *x: np.concatenate(x), *runs)
  scores = {trick: measure(samples, gold, t) for t, trick in enumerate(TRICKS)}
  at = lambda name, top_p=1.0: np.stack(
    [scores[t, top_p][name] for t in TEMPERATURES]
  )
  best = {
    name: int(np.argmax(at(name).mean(axis=1)))
    for name in ('pass@1', 'majority', 'coverage')
  }
  votes = at('majority')
  inside = 0 < best['majority'] < len(TEMPERATURES) - 1
  ends = [difference(votes[best['majority']], votes[i]) for i in (0, -1)]
  top_p = [
    difference(scores[t, 0.9]['majority'], scores[t, 1.0]['majority'])
    for t in TEMPERATURES
  ]
  # Labels of temperature and top-p permuted over the samples of a problem.
  rng = np.random.default_rng(0)
  order = rng.permuted(
    np.broadcast_to(np.arange(samples.answers.shape[1]), samples.answers.shape),
    axis=1,
  )
  mixed = jax.tree.map(lambda x: np.take_along_axis(x, order, axis=1), samples)
  blind = np.stack(
    [
      measure(mixed, gold, t)['majority']
      for t, (_, top_p) in enumerate(TRICKS)
      if top_p == 1
    ]
  )
  high, low = blind.mean(axis=1).argmax(), blind.mean(axis=1).argmin()
  return Row(
    f'bag_of_tricks (SmolLM2-135M, {", ".join(FAMILIES)}, {BUDGET} samples)',
    'the vote is best at a temperature between the ends, and coverage at a '
    'higher one than one sample',
    '; '.join(
      f'{name} by T={TEMPERATURES}: '
      + ', '.join(f'{100 * x.mean():.1f}' for x in at(name))
      for name in scores[TRICKS[0]]
      if name != 'tokens'
    )
    + f'; best T of pass@1 {TEMPERATURES[best["pass@1"]]}, of the vote '
    f'{TEMPERATURES[best["majority"]]} ({interval(votes[best["majority"]])}, '
    f'to the lowest T {signed(ends[0])}, to the highest {signed(ends[1])}), '
    f'of coverage {TEMPERATURES[best["coverage"]]}; top-p .9 instead of 1, '
    f'vote: {", ".join(signed(gap) for gap in top_p)}; tokens per right vote: '
    + ', '.join(
      f'{BUDGET * scores[t, 1.0]["tokens"].mean() / v.mean():.0f}'
      for t, v in zip(TEMPERATURES, votes, strict=True)
    ),
    'temperatures permuted over the samples: best against worst vote '
    f'{signed(difference(blind[high], blind[low]))}',
    bool(inside and best['coverage'] > best['pass@1']),
  )


def measure(samples, gold, trick):
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


_WEIGHTED = search.weighted_vote(search.minmax_weights)


@functools.cache
def loaded():
  """The model, read once."""
  return models.load('smollm2-135m')


def draw(seed):
  """Samples of all tricks, one trick after another, and the gold answers."""
  tokenizer, drawn, gold = loaded().tokenizer, [], []
  for name in FAMILIES:
    task = tasks.load(name, num_items=NUM_PROBLEMS, seed=seed)
    gold += [int(item.answer) for item in task.items]
    prompts = [tokenizer.encode(task.prompt(item)) for item in task.items]
    # The last batch is filled up; its last prompts are dropped again.
    prompts += prompts[: -len(prompts) % BATCH_SIZE]
    for i in range(0, len(prompts), BATCH_SIZE):
      batch = prompts[i : i + BATCH_SIZE]
      tokens = np.zeros((BATCH_SIZE, PROMPT_LENGTH), np.int32)
      for row, ids in zip(tokens, batch, strict=True):
        row[: len(ids)] = ids
      prompt = Prompt(jnp.asarray(tokens), jnp.array([len(b) for b in batch]))
      key = jax.random.fold_in(jax.random.key(900 + seed), len(drawn))
      generation = jax.device_get(sample(loaded().params, key, prompt))
      samples = search.observe(prompt, generation)
      read_answers = np.vectorize(
        lambda ids, n: answer_of(tokenizer, ids[:n]), signature='(t),()->()'
      )
      answers = read_answers(generation.tokens, generation.lengths)
      drawn.append(samples._replace(answers=answers))
    excess = len(prompts) - NUM_PROBLEMS
    drawn[-1] = jax.tree.map(lambda x, n=excess: x[: BATCH_SIZE - n], drawn[-1])
  joined = jax.tree.map(
    lambda *x: np.concatenate([np.asarray(leaf) for leaf in x]), *drawn
  )
  return Samples(*joined), np.array(gold)


@jax.jit
def sample(params, key, prompt):
  """The prompts are read once for all tricks."""
  model = loaded().model
  each = lambda values: jnp.repeat(jnp.array(values), NUM_SAMPLES)
  temperatures, top_ps = zip(*TRICKS, strict=True)
  return sampling.generate(
    params,
    jax.random.split(key, BATCH_SIZE),
    prompt,
    len(TRICKS) * NUM_SAMPLES,
    model=model,
    capacity=MAX_NEW_TOKENS,
    stop=sampling.stop_at_texts(loaded().tokenizer, model.vocab_size, ['\n']),
    sampling=sampling.SamplingParams(
      temperature=each(temperatures), top_p=each(top_ps)
    ),
  )


def answer_of(tokenizer, ids):
  """The number on the first line, -1 if there is none."""
  text = text_task.cut(tokenizer.decode(ids.tolist()), ['\n']).strip()
  return int(text) if text.isdecimal() and len(text) < 6 else -1
