"""Word problems in their original words and in others (2311.04850).

A problem is one of three expressions of three numbers. Its original has one
text; rephrases have other sentences in another order, with other words but for
names and numbers. A model learns some problems in all forms,
and others only rephrased: does it answer their originals?
"""

import random
import re
from typing import NamedTuple

import numpy as np

from ttc.testbeds import word_texts
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

_NAMES = (
  'ada ben cleo dora emil faye gus hana ivo june kai lena max nina otto pia '
  'ron sue tom uma'
).split()
_SURNAMES = (
  'abel birch carr dale eaton ford gale hart ives jay kerr lund moor nash orr '
  'pope reed shaw todd vale ward york zorn bell cole'
).split()
# One word each: what a problem is known by.
_PERSONS = [f'{x}-{y}' for x in _NAMES for y in _SURNAMES]
_THINGS = 'plums shells stamps tulips marbles buttons coins cards'.split()
# Expression: the original, then its rephrases.
FORMS = {
  'a*b-c': (
    '{n} buys {a} boxes with {b} {t} in each box and then gives {c} of the {t} '
    'to a friend ; how many {t} are still there ?',
    'a friend receives {c} {t} from {n} , who had brought home {a} crates '
    'holding {b} apiece ; what number is left for {n} ?',
    'of {a} packs of {b} {t} that belonged to {n} , exactly {c} went to '
    'somebody else ; count what remains ?',
  ),
  'a*b+c': (
    '{n} plants {a} rows of {b} {t} in the morning and adds {c} more {t} in '
    'the evening ; how many {t} are there in all ?',
    'late in the day {c} {t} joined the {a} lines of {b} which {n} had put '
    'down before noon ; what is the total ?',
    'count all {t} that {n} laid out , {a} times {b} early and {c} later on ?',
  ),
  '(a+b)*c': (
    'each of the {c} shelves of {n} holds {a} red {t} and {b} blue {t} ; how '
    'many {t} are on the shelves together ?',
    '{n} owns {c} boards , and on every one stand {b} {t} in blue next to {a} '
    'in red ; what is the sum ?',
    'add {a} red to {b} blue {t} , once for every one of the {c} planks {n} '
    'has ; count them ?',
  ),
}
NUM_TRAIN, NUM_TEST, NUM_STEPS = 160, 80, 1200
_LENGTH = 40
WORDS = sorted(
  {
    word_texts.PAD, word_texts.EOS, '=', *_PERSONS, *_THINGS,
    *map(str, range(21)), *'0123456789',
    *(w for forms in FORMS.values() for f in forms for w in f.split()),
  }
)  # fmt: skip


class Problem(NamedTuple):
  """A problem without words."""

  form: str
  a: int
  b: int
  c: int
  name: str
  thing: str

  @property
  def answer(self) -> int:
    """The value of the expression."""
    a, b, c = self.a, self.b, self.c
    return {'a*b-c': a * b - c, 'a*b+c': a * b + c, '(a+b)*c': (a + b) * c}[
      self.form
    ]


def draw_problems(num: int, seed: int) -> list[Problem]:
  """Problems, no two of which ask for the same or are about one person."""
  rng = random.Random(f'rephrased_problems/{seed}')
  names = rng.sample(_PERSONS, num)
  found: dict[tuple[str, int, int, int], Problem] = {}
  while len(found) < num:
    form = rng.choice(list(FORMS))
    a, b, c = (rng.randint(3, 20) for _ in range(3))
    if form == 'a*b-c' and a * b <= c:
      continue
    name = names[len(found)]
    problem = Problem(form, a, b, c, name, rng.choice(_THINGS))
    found.setdefault(_same(problem), problem)
  return list(found.values())


def original(problem: Problem) -> str:
  """The problem in its first words."""
  return _say(problem, FORMS[problem.form][0])


def rephrase(problem: Problem, seed: int) -> str:
  """The problem in other words."""
  rng = random.Random(f'rephrase/{seed}/{problem}')
  form = rng.choice(FORMS[problem.form][1:])
  return _say(problem, form)


def expression(text: str) -> tuple[str, int, int, int]:
  """What a text asks for, by its words: an exact judge.

  Raises:
    ValueError: at a text that is none of these.
  """
  for form, texts in FORMS.items():
    for template in texts:
      pattern = re.sub(
        r'\\{(\w)\\}',
        lambda m: rf'(?P<{m[1]}>\d+)' if m[1] in 'abc' else r'[\w-]+',
        re.escape(template),
      )
      found = re.search(pattern, text)
      if found:
        a, b, c = (int(found[name]) for name in 'abc')
        return _same(Problem(form, a, b, c, '', ''))
  raise ValueError(f'{text!r} is none of the problems')


def same_problem(pairs) -> list[bool]:
  """Whether the texts of each pair ask for the same."""
  return [expression(x) == expression(y) for x, y in pairs]


def accuracies(
  seed: int, size: Size, cache: Directory
) -> dict[str, np.ndarray]:
  """Whether models answer the originals of test problems.

  Two models learn the same problems in all words. To one the test problems are
  added, rephrased; to the other as many different ones, likewise rephrased.

  Args:
    seed: of the problems and of the training.
    size: see `Size`; `problems` are those of the test.
    cache: directory.

  Returns:
    By model, 'rephrased' and 'clean', `[problems]`; and of the first on the
    rephrases that it has learned, 'learned'.
  """
  num_test = size.fewer(NUM_TEST)
  problems = draw_problems(NUM_TRAIN + 2 * num_test, seed)
  known = problems[:NUM_TRAIN]
  test, others = problems[NUM_TRAIN:][:num_test], problems[-num_test:]
  corpus = [(original(p), p) for p in known]
  corpus += [(rephrase(p, i), p) for p in known for i in range(3)]
  ask = lambda texts: word_texts.to_rows(
    [(f'{text} =', ' '.join(str(p.answer))) for text, p in texts],
    WORDS,
    _LENGTH,
  )
  found = {}
  for name, added in (('rephrased', test), ('clean', others)):
    loaded = word_texts.train_on_rows(
      f'rephrased_problems_{name}_{num_test}',
      ask(corpus + [(rephrase(p, 0), p) for p in added] * 2),
      WORDS,
      NUM_STEPS,
      seed,
      size,
      cache,
      drop=0.3,
    )
    rows = ask([(original(p), p) for p in test])
    found[name] = word_texts.said_and_likelihood(loaded, rows)[0]
    if name == 'rephrased':
      rows = ask([(rephrase(p, 0), p) for p in test])
      found['learned'] = word_texts.said_and_likelihood(loaded, rows)[0]
  return found


def _same(problem: Problem) -> tuple[str, int, int, int]:
  """The expression, with operands that may be swapped in order."""
  a, b = sorted((problem.a, problem.b))
  return problem.form, a, b, problem.c


def _say(problem: Problem, form: str) -> str:
  return form.format(
    n=problem.name,
    t=problem.thing,
    a=problem.a,
    b=problem.b,
    c=problem.c,
  )
