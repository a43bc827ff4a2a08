"""LongSeal: one helpful document among many that are not (2506.01062).

The 254 questions of seal_hard with lists of 12, 20 and 30 documents, of which
one helps. Accuracy is shown by the place of that document and by the number of
the others. A record gives an item for each of its lists, and they are one
cluster. Graded as in `sealqa`. (How a document is stored is from memory: an
object with `text`, a `title` if it has one, and `is_gold`.)
"""

from typing import Any

from ttc.benchmarks.benchmark import Benchmark
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.sealqa import SCHEMA as SEALQA_SCHEMA
from ttc.benchmarks.sealqa import attempted_accuracy, grade_by_judge
from ttc.tasks import Item

_LISTS = ('12_docs', '20_docs', '30_docs')
SCHEMA = (
  *SEALQA_SCHEMA,
  *(Field(name, list, of=dict, optional=True) for name in _LISTS),
)
_PARTS = ('first third', 'middle third', 'last third')


def longseal() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='longseal',
    title='SealQA: Raising the Bar for Reasoning in Search-Augmented LMs',
    paper='2506.01062',
    metric='correct',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_items),
    prompt=_prompt,
    grade=grade_by_judge,
    aggregate=attempted_accuracy,
    cluster=lambda item: item.question,
    categories=lambda item: {
      'documents': f'{len(item.meta["documents"]):2}',
      'place': _PARTS[3 * item.meta['place'] // len(item.meta['documents'])],
    },
    max_new_tokens=256,
  )


def _to_items(record: Record) -> list[Item]:
  items = []
  for name in _LISTS:
    documents = record.get(name)
    if documents is None:
      continue
    golden = [i for i, x in enumerate(documents) if x.get('is_gold')]
    if len(golden) != 1:
      raise ValueError(
        f'field {name!r} has {len(golden)} documents with is_gold; expected 1'
      )
    if not all(isinstance(x.get('text'), str) for x in documents):
      raise ValueError(f'field {name!r} has a document without a text')
    meta: dict[str, Any] = {'documents': documents, 'place': golden[0]}
    key = f'{record["question"]}#{name}'
    items.append(Item(key, record['question'], record['answer'], meta))
  if not items:
    raise ValueError(f'none of the fields {", ".join(_LISTS)} is there')
  return items


def _prompt(item: Item) -> str:
  documents = '\n\n'.join(
    f'[{i}] {document.get("title", "")}\n{document["text"]}'
    for i, document in enumerate(item.meta['documents'], start=1)
  )
  return (
    f'{documents}\n\nOne of these documents helps to answer, the others do '
    f'not.\nQuestion: {item.question}\nAnswer briefly.'
  )
