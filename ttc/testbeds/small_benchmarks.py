"""Records of our own for four benchmarks, and SmolLM2's answers to them."""

import random
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ttc import benchmarks, sampling, tasks
from ttc.benchmarks import judges
from ttc.benchmarks.dyval import draw_items
from ttc.benchmarks.meta_probing import probe_by_rules
from ttc.benchmarks.ts_guessing import hide_option
from ttc.testbeds.smollm2 import load, load_tokenizer, pad

_NAMES = 'Ada Merrow,Tom Ashe,Lena Voss,Ivo Kerr,Mina Dale,Gus Hart'.split(',')
_PLACES = (
  'Lowfield School,the Hill Academy,Arn Hospital,the Harbour Office,Kerr Mill,'
  'the City Library,Vale Observatory,the Old Brewery'
).split(',')
_ADJECTIVES = 'rusty silver broken painted hollow tiny golden wooden'.split()
_NOUNS = 'lantern compass kettle whistle mirror button ladder anchor'.split()
# Question, the right answer, three wrong ones.
_FACTS = (
  ('What colour is grass?', 'green', 'red', 'purple', 'black'),
  ('How many legs has a dog?', 'four', 'two', 'six', 'eight'),
  ('What is the capital of France?', 'Paris', 'Rome', 'Madrid', 'Berlin'),
  ('Which animal says meow?', 'a cat', 'a cow', 'a horse', 'a frog'),
  ('What do bees make?', 'honey', 'milk', 'silk', 'paper'),
  ('What is frozen water called?', 'ice', 'steam', 'sand', 'oil'),
  ('Which star is nearest to us?', 'the Sun', 'Sirius', 'Vega', 'Polaris'),
  ('What is the opposite of hot?', 'cold', 'dry', 'loud', 'tall'),
  ('How many days has a week?', 'seven', 'five', 'nine', 'twelve'),
  ('Which of these can fly?', 'an eagle', 'a pig', 'a whale', 'a snail'),
  ('What do we drink from?', 'a cup', 'a hammer', 'a carpet', 'a brick'),
  ('Where do fish live?', 'in water', 'in trees', 'in fire', 'in clouds'),
)


def timeqa_items(num: int, rng: random.Random) -> list[tasks.Item]:
  """Two places of work in a passage, one of them asked for by a year."""
  items = []
  for i in range(num):
    name, (first, second) = rng.choice(_NAMES), rng.sample(_PLACES, 2)
    start, turn = rng.randint(1901, 1930), rng.randint(1940, 1960)
    end = turn + rng.randint(10, 20)
    context = (
      f'{name} worked at {first} from {start} to {turn}. From {turn + 1} to '
      f'{end} {name} worked at {second}.'
    )
    is_first = rng.random() < 0.5
    years = (start + 1, turn - 1) if is_first else (turn + 2, end - 1)
    answer = first if is_first else second
    question = f'Where did {name} work in {rng.randint(*years)}?'
    meta = {'targets': [answer], 'context': context}
    items.append(tasks.Item(f'/wiki/{name}#{i}', question, answer, meta))
  return items


def dyval_items(num: int, rng: random.Random) -> list[tasks.Item]:
  """Sums, products and differences of two numbers."""
  return draw_items(
    {'id': 'a', 'kind': 'arithmetic', 'depth': 2, 'num_items': num,
     'seed': rng.randrange(2**31)}
  )  # fmt: skip


def probing_items(num: int, rng: random.Random) -> list[tasks.Item]:
  """Simple facts as multiple choice, and probes of them, five for each."""
  items = []
  for i, (question, *choices) in enumerate(rng.sample(_FACTS, num // 5)):
    right = choices[0]
    rng.shuffle(choices)
    answer = 'ABCD'[choices.index(right)]
    items.append(_choice(f'{i}', question, choices, answer))
  return probe_by_rules(items, rng.randrange(2**31))


def guessing_items(num: int, rng: random.Random) -> list[tasks.Item]:
  """What nobody can have read, an option hidden."""
  items = []
  for i in range(num):
    pairs = zip(rng.sample(_ADJECTIVES, 4), rng.sample(_NOUNS, 4), strict=True)
    choices = [f'a {x} {y}' for x, y in pairs]
    question = f'What did {rng.choice(_NAMES)} find at {rng.choice(_PLACES)}?'
    items.append(_choice(f'{i}', question, choices, rng.choice('ABCD')))
  return hide_option(items)


# Benchmark: its items, and new tokens of an answer.
BENCHMARKS: dict[str, tuple[Callable, int]] = {
  'timeqa': (timeqa_items, 24),
  'dyval': (dyval_items, 48),
  'meta_probing': (probing_items, 32),
  'ts_guessing': (guessing_items, 16),
}


def run(name: str, num: int, seed: int) -> dict[str, np.ndarray]:
  """SmolLM2's greedy answers, scored.

  Args:
    name: one of `BENCHMARKS`.
    num: items.
    seed: of the items.

  Returns:
    'score' and the parts of each item; the same with 'other ' for the answer to
    the item before it, by which nothing is known of this one.
  """
  draw, capacity = BENCHMARKS[name]
  made = benchmarks.find(name)
  items = draw(num, random.Random(f'small_benchmarks/{name}/{seed}'))
  said = _answers(made, items, capacity)
  judge = judges.no_judge
  verdicts = [
    made.grade(x, text, judge) for x, text in zip(items, said, strict=True)
  ]
  others = [
    made.grade(x, text, judge)
    for x, text in zip(items, said[-1:] + said[:-1], strict=True)
  ]
  return _columns(verdicts, '') | _columns(others, 'other ')


def _columns(verdicts, prefix) -> dict[str, np.ndarray]:
  """The scores and parts of verdicts, by name."""
  rows = [{'score': v.score, **v.parts} for v in verdicts]
  return {
    prefix + name: np.array([row[name] for row in rows]) for name in rows[0]
  }


def _choice(name, question, choices, answer) -> tasks.Item:
  meta = {'choices': choices, 'category': '', 'source': ''}
  return tasks.Item(name, question, answer, meta)


def _answers(made, items, capacity) -> list[str]:
  """Greedy responses to the prompts of a benchmark, as a chat."""
  tokenizer, model = load_tokenizer(), load().model
  prompts = [
    tokenizer.chat([{'role': 'user', 'content': made.prompt(item)}])
    for item in items
  ]
  stop = sampling.stop_at_texts(tokenizer, model.vocab_size, made.stop)

  @jax.jit
  def decode(params, prompt):
    return sampling.generate(
      params,
      jax.random.split(jax.random.key(0), len(items)),
      prompt,
      1,
      model=model,
      capacity=capacity,
      stop=stop,
      sampling=sampling.SamplingParams(temperature=0.0),
    )

  found = decode(load().params, pad(prompts, max(map(len, prompts))))
  found = jax.tree.map(lambda x: np.asarray(jnp.asarray(x)[:, 0]), found)
  return [
    sampling.response_text(tokenizer, tokens[:length], reason, made.stop)
    for tokens, length, reason in zip(
      found.tokens, found.lengths, found.finish_reasons, strict=True
    )
  ]
