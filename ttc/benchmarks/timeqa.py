r"""TimeQA: questions whose answers depend on when (2108.06314).

Chen et al., "A Dataset for Answering Time-Sensitive Questions". A passage of
Wikipedia and a question with a time; `targets == ['']` says that the passage
does not tell. Scores are those of SQuAD: exact match and F1 of tokens, the best
over the targets. The released scorer averages over the predictions it finds; we
count a missing one as 0 and report the coverage. A reply of "unanswerable" is
the empty answer. Published: 46% by fusion in decoder, 87% by people.
"""

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import exact_match, token_f1
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('idx'),  # '/wiki/Knox_Cunningham#P39#0'
  Field('question'),
  Field('context'),
  Field('targets', list, of=str),
  Field('paragraphs', list, of=dict, optional=True),  # for fusion in decoder
)
UNANSWERABLE = 'unanswerable'


def timeqa() -> Benchmark:
  """Makes the benchmark; a cluster is what was asked of one entity."""
  return Benchmark(
    name='timeqa',
    title='A Dataset for Answering Time-Sensitive Questions',
    paper='2108.06314',
    metric='exact match',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    cluster=lambda item: item.id.split('#')[0],
    categories=lambda item: {'answerable': 'yes' if item.answer else 'no'},
    max_new_tokens=64,
  )


def _to_item(record: Record) -> Item:
  targets = record['targets']
  if not targets:
    raise ValueError(
      "field 'targets' is []; expected answers, or [''] for none"
    )
  meta = {'targets': targets, 'context': record['context']}
  return Item(record['idx'], record['question'], targets[0], meta)


def _prompt(item: Item) -> str:
  return (
    f'{item.meta["context"]}\n\nQuestion: {item.question}\nAnswer with a short '
    f'span of the text above, or with "{UNANSWERABLE}" if it does not tell.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  said = reply(completion).strip()
  if said.lower().strip(' ."') == UNANSWERABLE:
    said = ''
  targets = item.meta['targets']
  exact = max(exact_match(target, said) for target in targets)
  f1 = max(token_f1(target, said) for target in targets)
  return Verdict(exact, said, 'squad', {'F1': f1})
