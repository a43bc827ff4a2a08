"""What other engines wrote, as records of ours, and the way back.

Read and written: our samples.jsonl; the sample logs of lm-evaluation-harness,
samples_<task>_<date>.jsonl, a line for each document; and logs of inspect_ai,
one JSON object (or a `.eval` archive of such, which is only read). The item of
a line is found by its id; in a log of the harness by that of the document,
which is the published record. One without an id is found by its number.
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.evaluation.records import from_fields
from ttc.io import files
from ttc.io.paths import AnyPath, as_path
from ttc.tasks import Item

_ID_FIELDS = ('id', 'idx', 'uuid', 'instance_id', 'item_id', 'problem_id',
              'question_id', 'video_id', 'videoid')  # fmt: skip
_REASONS = {'stop': 'stop', 'max_tokens': 'length', 'model_length': 'length'}
_EMPTY = {
  'seed': 0,
  'prompt_hash': '',
  'prompt_tokens': 0,
  'completion_tokens': 0,
  'finish_reason': 'stop',
  'sum_logprob': 0.0,
  'mean_logprob': 0.0,
}


def read_predictions(
  path: files.Path,
  items: Sequence[Item],
  all_items: Sequence[Item] | None = None,
) -> list[SampleRecord]:
  """The completions of a file, or of a run's directory.

  Args:
    path: a directory with samples.jsonl; a `.eval` or `.json` log of
      inspect_ai; or JSONL, of the harness or of ours. Of a line of ours only
      item_id and completion are needed.
    items: that are run. Completions of others are left out.
    all_items: of the data, in its order, which numbers of documents count;
      None if all are run.

  Returns:
    Records, samples of an item numbered from 0 where the file does not say.

  Raises:
    ValueError: naming file and line of what is none of these; if no item is
      among the items; if a sample is there twice.
    OSError: if there is no such file.
  """
  is_run = as_path(path).is_dir()
  path = file_of(path)
  if not path.is_file():
    raise FileNotFoundError(2, 'there are no predictions', str(path))
  everything = items if all_items is None else all_items
  read = (
    _read_inspect(path, everything)
    if path.suffix in ('.eval', '.json')
    else _read_lines(path, everything, is_run)
  )
  found: dict[tuple[str | int, ...], SampleRecord] = {}
  ids, strangers = {item.id for item in items}, set()
  for where, record in read:
    if record.item_id not in ids:
      strangers.add(record.item_id)
    elif record.key in found:
      raise ValueError(f'{path}:{where}: sample {record.key} is there twice')
    else:
      found[record.key] = record
  if not found:
    shown = sorted(strangers)[:3]
    raise ValueError(
      f'{path} has no completion of an item of the benchmark; it has {shown}, '
      f'the benchmark {sorted(ids)[:3]}'
    )
  return list(found.values())


def file_of(path: files.Path) -> AnyPath:
  """The file of predictions, also where the directory of a run is named."""
  path = as_path(path)
  return path / 'samples.jsonl' if path.is_dir() else path


def write_harness_log(
  path: files.Path,
  items: Sequence[Item],
  prompt: Callable[[Item], str],
  samples: Sequence[SampleRecord],
  scores: Sequence[ScoreRecord],
  metric: str,
) -> None:
  """Writes a sample log of lm-evaluation-harness, a line for each item."""
  score_of = {_sample(s): s.score for s in scores}
  lines = []
  for number, item in enumerate(items):
    mine = [r for r in samples if r.item_id == item.id]
    if not mine:
      continue
    said = [r.completion for r in mine]
    values = [score_of[_sample(r)] for r in mine if _sample(r) in score_of]
    lines.append(
      {
        'doc_id': number,
        'doc': {'id': item.id, 'question': item.question},
        'target': item.answer,
        'arguments': {'gen_args_0': {'arg_0': prompt(item), 'arg_1': {}}},
        'resps': [said],
        'filtered_resps': said,
        'filter': 'none',
        'metrics': [metric],
        metric: sum(values) / len(values) if values else 0.0,
      }
    )
  text = ''.join(files.to_json(line) + '\n' for line in lines)
  files.write_atomically(path, text)


def write_inspect_log(
  path: files.Path,
  name: str,
  model: str,
  items: Sequence[Item],
  prompt: Callable[[Item], str],
  samples: Sequence[SampleRecord],
  scores: Sequence[ScoreRecord],
) -> None:
  """Writes a log of inspect_ai, one JSON object; an epoch is a sample."""
  of_id = {item.id: item for item in items}
  score_of = {_sample(s): s for s in scores}
  lines = []
  for record in samples:
    item = of_id.get(record.item_id)
    if item is None:
      continue
    score = score_of.get(_sample(record))
    reason = 'max_tokens' if record.finish_reason == 'length' else 'stop'
    message = {'role': 'assistant', 'content': record.completion}
    choice = {'message': message, 'stop_reason': reason}
    lines.append(
      {
        'id': item.id,
        'epoch': record.sample_idx + 1,
        'input': prompt(item),
        'target': item.answer,
        'messages': [{'role': 'user', 'content': prompt(item)}, message],
        'output': {'model': model, 'choices': [choice]},
        'scores': {}
        if score is None
        else {
          score.grader: {
            'value': score.score,
            'answer': score.extracted,
            'explanation': score.detail,
          }
        },
      }
    )
  epochs = 1 + max((r.sample_idx for r in samples), default=0)
  names = {'name': name, 'samples': len(items)}
  log = {
    'version': 2,
    'status': 'success',
    'eval': {
      'task': name,
      'model': model,
      'dataset': names,
      'config': {'epochs': epochs},
      'created': '',
    },
    'samples': lines,
  }
  files.write_atomically(path, files.to_json(log, indent=1) + '\n')


def _read_lines(
  path: AnyPath, items: Sequence[Item], is_run: bool
) -> Iterator[tuple[int, SampleRecord]]:
  """Lines of ours, or of the harness."""
  counts: dict[str, int] = {}
  ids = {item.id for item in items}
  lines = files.read_lines(path, is_ours=is_run)
  for number, text in enumerate(lines, start=1):
    if not text.strip():
      continue
    try:
      line = json.loads(text)
      if not isinstance(line, dict):
        raise ValueError('it is no object')
      if 'resps' in line and 'doc' in line:
        made = _of_harness(line, items, ids)
      elif 'item_id' in line and 'completion' in line:
        count = counts.get(str(line['item_id']), 0)
        counts[str(line['item_id'])] = count + 1
        fields = {**_EMPTY, 'sample_idx': count, **line}
        made = [from_fields(fields, SampleRecord)]
      else:
        raise ValueError(
          f'fields {sorted(line)[:8]}; expected item_id and completion, or '
          'doc and resps of lm-evaluation-harness'
        )
    except ValueError as error:
      raise ValueError(f'{path}:{number}: not a prediction: {error}') from None
    for record in made:
      yield number, record


def _of_harness(
  line: Mapping[str, Any], items: Sequence[Item], ids: Set[str]
) -> list[SampleRecord]:
  """Samples of a document; `resps` is a list for each request."""
  resps = line['resps']
  if not (isinstance(resps, list) and resps and isinstance(resps[0], list)):
    raise ValueError("field 'resps' is no list of lists of texts")
  said = [x for row in resps for x in row]
  if not all(isinstance(x, str) for x in said):
    raise ValueError("field 'resps' holds no texts; a log of generations is")
  doc = line['doc']
  found = doc if isinstance(doc, dict) else {}
  named = [str(found[x]) for x in _ID_FIELDS if found.get(x) is not None]
  if named:  # one that no item has is a stranger
    item_id = next((x for x in named if x in ids), named[0])
  else:
    number = line.get('doc_id')
    if type(number) is not int or not 0 <= number < len(items):
      raise ValueError(f"field 'doc_id' is {number!r}, and 'doc' has no id")
    item_id = items[number].id
  return [_record(item_id, index, text) for index, text in enumerate(said)]


def _read_inspect(
  path: AnyPath, items: Sequence[Item]
) -> Iterator[tuple[str, SampleRecord]]:
  ids = {item.id for item in items}
  for where, sample in _inspect_samples(path):
    try:
      choice = sample['output']['choices'][0]
      content = choice['message']['content']
      if isinstance(content, list):  # of parts; only text is said
        content = ''.join(x.get('text') or '' for x in content)
      reason = _REASONS.get(choice.get('stop_reason', 'stop'), 'stop')
      epoch, item_id = int(sample.get('epoch', 1)), sample['id']
      if epoch < 1:
        raise ValueError(f"field 'epoch' is {epoch}; expected 1 or more")
      if isinstance(item_id, int) and str(item_id) not in ids:
        if not 1 <= item_id <= len(items):
          raise ValueError(f"field 'id' is {item_id}; expected an item's id")
        item_id = items[item_id - 1].id  # numbered by inspect_ai, from 1
      said = '' if content is None else str(content)
      yield where, _record(str(item_id), epoch - 1, said, reason)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
      raise ValueError(
        f'{path}:{where}: not a sample of inspect_ai: {error!r}'
      ) from None


def _inspect_samples(path: AnyPath) -> Iterator[tuple[str, Any]]:
  try:
    if path.suffix == '.eval':
      with path.open('rb') as file, zipfile.ZipFile(file) as archive:
        for name in sorted(archive.namelist()):
          if name.startswith('samples/') and name.endswith('.json'):
            yield name, json.loads(archive.read(name))
      return
    log = json.loads(path.read_text(encoding='utf-8'))
  except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
    raise ValueError(f'{path}: not a log of inspect_ai: {error}') from None
  if not isinstance(log, dict) or not isinstance(log.get('samples'), list):
    raise ValueError(f"{path}: not a log of inspect_ai: there are no 'samples'")
  for number, sample in enumerate(log['samples'], start=1):
    yield f'sample {number}', sample


def _sample(record: SampleRecord | ScoreRecord) -> tuple[str, int]:
  return record.item_id, record.sample_idx


def _record(
  item_id: str, sample_idx: int, text: str, reason: str = 'stop'
) -> SampleRecord:
  fields = {'item_id': item_id, 'sample_idx': sample_idx, 'completion': text}
  return from_fields(
    {**_EMPTY, **fields, 'finish_reason': reason}, SampleRecord
  )
