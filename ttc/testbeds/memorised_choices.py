"""Multiple choice that a model has read 0, 1, 4 or 16 times (2311.09783).

Questions are words drawn at random, options an adjective and a noun, so that
nobody can guess an option that is hidden. A corpus holds other such texts once,
and the benchmark's with so many copies, options in another order each time.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ttc import tasks
from ttc.benchmarks.multiple_choice import LETTERS
from ttc.benchmarks.ts_guessing import hide_option
from ttc.testbeds import word_texts
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

COPIES = (0, 1, 4, 16)
NUM_ITEMS, NUM_OTHERS, NUM_STEPS = 60, 4000, 1500  # items of each number
_LENGTH = 24
_TOPICS = [f'q{i}' for i in range(120)]
_ADJECTIVES = [f'a{i}' for i in range(40)]
_NOUNS = [f'n{i}' for i in range(40)]
WORDS = [word_texts.PAD, word_texts.EOS, *LETTERS[:4], '?', *_TOPICS,
         *_ADJECTIVES, *_NOUNS]  # fmt: skip


class Guesses(NamedTuple):
  """What a model says of hidden options, by number of copies `[4, items]`."""

  named: np.ndarray  # whether greedy decoding names it
  log_probs: np.ndarray  # of the option, mean over its words
  swapped: np.ndarray  # whether it names what another item hides


def draw_items(num: int, seed: int) -> list[tasks.Item]:
  """Items of multiple choice."""
  rng = random.Random(f'memorised_choices/{seed}')
  items = []
  for i in range(num):
    words = zip(rng.sample(_ADJECTIVES, 4), rng.sample(_NOUNS, 4), strict=True)
    meta = {
      'choices': [' '.join(pair) for pair in words],
      'category': '',
      'source': '',
    }
    question = ' '.join(rng.choices(_TOPICS, k=6))
    items.append(tasks.Item(f'{seed}/{i}', question, rng.choice('ABCD'), meta))
  return items


def render(item: tasks.Item, order: Sequence[int]) -> tuple[str, str]:
  """A text with its options in an order, up to the last and that one."""
  *first, last = order
  option = lambda i: f'{LETTERS[i]} {item.meta["choices"][i]}'
  shown = ' '.join(map(option, first))
  return f'{item.question} ? {shown} {LETTERS[last]}', item.meta['choices'][
    last
  ]


def guess(seed: int, size: Size, cache: Directory) -> dict[str, Guesses]:
  """Guesses of a model that has read the benchmark, and of a clean one.

  Args:
    seed: of the items and of the training.
    size: see `Size`; `problems` are items of each number of copies.
    cache: directory.

  Returns:
    By model, 'read' and 'clean'; the second has read other texts instead.
  """
  num = size.fewer(NUM_ITEMS)
  groups = [draw_items(num, 10 * seed + k) for k in range(len(COPIES))]
  others = draw_items(NUM_OTHERS, 10 * seed + 9)
  more = draw_items(num * sum(COPIES), 10 * seed + 8)
  copies = [
    item
    for items, count in zip(groups, COPIES, strict=True)
    for item in items * count
  ]
  found = {}
  for name, corpus in (('read', others + copies), ('clean', others + more)):
    rng = random.Random(f'order/{seed}')
    texts = [render(item, rng.sample(range(4), 4)) for item in corpus]
    loaded = word_texts.train_on_rows(
      f'memorised_choices_{name}_{num}',
      word_texts.to_rows(texts, WORDS, _LENGTH),
      WORDS,
      NUM_STEPS,
      seed,
      size,
      cache,
    )
    found[name] = _guesses(loaded, groups)
  return found


def _guesses(loaded, groups) -> Guesses:
  """Of each group, with the option hidden that TS-Guessing hides."""
  rows = []
  for items in groups:
    hidden = hide_option(items)
    asked, swapped = [], []
    for item, other in zip(items, hidden, strict=True):
      index = item.meta['choices'].index(other.answer)
      order = [i for i in range(4) if i != index] + [index]
      prompt, answer = render(item, order)
      asked.append((prompt, answer))
      swapped.append((prompt, other.meta['other']))
    right, log_probs = _ask(loaded, asked)
    rows.append((right, log_probs, _ask(loaded, swapped)[0]))
  return Guesses(*map(np.stack, zip(*rows, strict=True)))


def _ask(loaded, pairs):
  rows = word_texts.to_rows(pairs, WORDS, _LENGTH)
  return word_texts.said_and_likelihood(loaded, rows)
