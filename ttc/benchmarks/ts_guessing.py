r"""TS-Guessing: can a model name what it cannot know (2311.09783)?

Deng et al., "Investigating Data Contamination in Modern Benchmarks". Of a
question with options one wrong option is hidden, or of the question one word;
who names it has seen the test set. Scored by exact match when normalised and by
ROUGE-L. Which is hidden depends on the item's id alone. Beside the guesses
stand those of the option that is hidden in the next item, which nobody can
name but by chance: without a clean model a control of a kind. Published:
ChatGPT 52% and GPT-4 57% on hidden options of MMLU.

Left out are items that can be guessed (from memory, and options of `keeps`):
yes or no, all or none of the above, numbers, options of one word, and options
like another one.
"""

import collections
import random
import re
from collections.abc import Sequence

from ttc.benchmarks import multiple_choice
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.multiple_choice import LETTERS, SCHEMA
from ttc.benchmarks.schema import from_records
from ttc.benchmarks.text_overlap import exact_match, normalize, rouge_l
from ttc.tasks import Item
from ttc.tasks.graders import reply

_GUESSABLE = re.compile(
  r'\b(?:all|none|both|neither|any) of (?:the|these)\b'
  r'|^(?:yes|no|true|false)\b',
  re.IGNORECASE,
)
# Words of four letters and more that are in many questions.
_SAY_LITTLE = frozenset(
  'about after before been between both could does each first following from '
  'have having into last many more most much only other should some such than '
  'that their them then there these they this those through under were what '
  'when where which while whom whose will with would your'.split()
)


def ts_guessing() -> Benchmark:
  """Makes the protocol that hides a wrong option."""
  return _benchmark('ts_guessing', 'option', hide_option)


def ts_guessing_question() -> Benchmark:
  """Makes the protocol that hides a word of the question."""
  return _benchmark('ts_guessing_question', 'word', hide_word)


def _benchmark(name, what, hide) -> Benchmark:
  def load(path):
    items = from_records(SCHEMA, multiple_choice.to_item)(path)
    return hide(items)

  return Benchmark(
    name=name,
    title='Investigating Data Contamination in Modern Benchmarks',
    paper='2311.09783',
    metric=f'hidden {what} named',
    schema=SCHEMA,
    load=load,
    prompt=lambda item: item.question,
    grade=_grade,
    categories=lambda item: (
      {'category': item.meta['category']} if item.meta['category'] else {}
    ),
    max_new_tokens=64,
  )


def hide_option(items: Sequence[Item]) -> list[Item]:
  """Hides a wrong option of each item that keeps its secret.

  Args:
    items: of `multiple_choice`.

  Returns:
    Items whose answer is the hidden text.

  Raises:
    ValueError: if there is none.
  """
  hidden = []
  for item in items:
    choices = item.meta['choices']
    right = LETTERS.index(item.answer)
    wrong = [i for i in range(len(choices)) if i != right]
    index = random.Random(f'ts_guessing/{item.id}').choice(wrong)
    if not keeps(choices, index):
      continue
    shown = [x if i != index else '[MASK]' for i, x in enumerate(choices)]
    letter = LETTERS[index]
    question = (
      f'Fill in the [MASK] in option {letter} of this question with what it is '
      f'in the original. The right answer is {item.answer}.\n\n'
      f'Question: {item.question}\n{multiple_choice.listed(shown)}\n\n'
      f'Reply with the text of option {letter} only.'
    )
    hidden.append(item._replace(question=question, answer=choices[index]))
  return _with_others(hidden)


def keeps(
  choices: Sequence[str],
  index: int,
  *,
  least_words: int = 2,
  most_overlap: float = 0.65,
) -> bool:
  """Whether the option cannot be guessed from the others.

  Args:
    choices: all of them.
    index: of the one to be hidden.
    least_words: in each option.
    most_overlap: ROUGE-L with another option.
  """
  if any(_GUESSABLE.search(x.strip()) for x in choices):
    return False
  if all(not re.search(r'[^\W\d_]', x) for x in choices):
    return False
  if any(len(normalize(x).split()) < least_words for x in choices):
    return False
  others = [x for i, x in enumerate(choices) if i != index]
  return max(rouge_l(x, choices[index]) for x in others) <= most_overlap


def hide_word(items: Sequence[Item]) -> list[Item]:
  """Hides the rarest word of each question, the first of several.

  Args:
    items: of `multiple_choice`; words are counted in their questions.

  Returns:
    Items whose answer is the word.

  Raises:
    ValueError: if no question has a word of four letters.
  """
  words = lambda text: [
    word
    for word in re.findall(r'\b[^\W\d_]{4,}\b', text)
    if word.lower() not in _SAY_LITTLE
  ]
  counts = collections.Counter(
    word.lower() for item in items for word in words(item.question)
  )
  hidden = []
  for item in items:
    found = words(item.question)
    if not found:
      continue
    word = min(found, key=lambda w: counts[w.lower()])
    shown = re.sub(rf'\b{word}\b', '[MASK]', item.question, count=1)
    hints = ''.join(
      f'\n{name.capitalize()}: {item.meta[name]}'
      for name in ('category', 'source')
      if item.meta[name]
    )
    question = (
      'Fill in the [MASK] in this question with the word of the original.\n\n'
      f'Question: {shown}\n{multiple_choice.listed(item.meta["choices"])}'
      f'{hints}\n\nReply with the word only.'
    )
    hidden.append(item._replace(question=question, answer=word))
  return _with_others(hidden)


def _with_others(hidden: list[Item]) -> list[Item]:
  """Items that also know what is hidden in the next."""
  if not hidden:
    raise ValueError('of no item anything can be hidden that is not guessable')
  others = [item.answer for item in (*hidden[1:], hidden[0])]
  return [
    item._replace(meta={**item.meta, 'other': other})
    for item, other in zip(hidden, others, strict=True)
  ]


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  said = re.sub(r'^\(?[A-Z][:.)]\s+', '', reply(completion).strip())
  exact = exact_match(item.answer, said)
  parts = {
    'ROUGE-L': rouge_l(item.answer, said),
    "another item's named": exact_match(item.meta['other'], said),
  }
  return Verdict(exact, said or None, 'exact match', parts)
