"""Records of multiple choice, as several protocols read them."""

from collections.abc import Sequence

from ttc.benchmarks.schema import Field, Record
from ttc.tasks import Item

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
SCHEMA = (
  Field('id', object),
  Field('question'),
  Field('choices', list, of=str),
  Field('answer', object),  # a letter, or an index from 0
  Field('category', optional=True),
  Field('source', optional=True),
)


def to_item(record: Record) -> Item:
  """The item of a record; its answer is a letter, its options are `choices`.

  Raises:
    ValueError: naming the field, if the answer is not one of the options, or
      two options are the same.
  """
  choices, answer = record['choices'], record['answer']
  if not 2 <= len(choices) <= len(LETTERS) or not all(map(str.strip, choices)):
    raise ValueError(f"field 'choices' is {choices!r}; expected 2 to 26 texts")
  if len(set(choices)) < len(choices):
    raise ValueError(
      f"field 'choices' is {choices!r}; expected different texts"
    )
  letters = LETTERS[: len(choices)]
  # Only a single letter: 'AB' is found in 'ABCD' too.
  index = [*letters].index(answer) if answer in [*letters] else answer
  if type(index) is not int or not 0 <= index < len(choices):
    raise ValueError(
      f"field 'answer' is {answer!r}; expected one of {', '.join(letters)}, or "
      f'an index from 0 to {len(choices) - 1}'
    )
  meta = {
    'choices': list(choices),
    'category': record.get('category') or '',
    'source': record.get('source') or '',
  }
  return Item(str(record['id']), record['question'], letters[index], meta)


def listed(choices: Sequence[str]) -> str:
  """Options below each other, with letters."""
  return '\n'.join(
    f'{letter}: {choice}'
    for letter, choice in zip(LETTERS, choices, strict=False)
  )
