"""What README and the notebooks say is true, because it is run here."""

import pathlib
import re

import pytest

from ttc import benchmarks, models
from ttc.drivers.benchmark import list_benchmarks
from ttc.drivers.methods_table import methods_table

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def needs_smollm2():
  try:
    models.load('smollm2-135m')
  except (FileNotFoundError, ImportError) as error:
    pytest.skip(str(error))


def test_table_of_methods_is_what_the_methods_declare():
  compared = (ROOT / 'docs' / 'compare.md').read_text(encoding='utf-8')
  assert methods_table(compared) in README
  assert README.count('](ttc/search/') >= 7
  for file in re.findall(r'\]\((ttc/search/[a-z_]+\.py)\)', README):
    assert (ROOT / file).exists(), file


def test_links_lead_somewhere():
  for document in (
    'README.md',
    'BUILD.md',
    'docs/claims.md',
    'docs/benchmarks.md',
  ):
    text = (ROOT / document).read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)]+)\)', text):
      if not target.startswith('http'):
        path = (ROOT / document).parent / target.split('#')[0]
        assert path.exists(), f'{document}: {target}'


@pytest.mark.slow
def test_the_example_runs(capsys):
  needs_smollm2()
  blocks = re.findall(r'```python\n(.*?)```', README, re.DOTALL)
  assert len(blocks[0].strip().splitlines()) <= 20
  names = {}
  for block in blocks:
    exec(block, names)
  first, *by_method = capsys.readouterr().out.splitlines()
  by_method, returns = by_method[:3], by_method[3:]
  answer, share = first.split()
  assert answer == '8'
  assert 0 < float(share.strip('[]')) <= 1
  names = [line.split()[0] for line in by_method]
  assert names == ['self_consistency', 'beam_search', 'mcts']
  assert by_method[0].split()[1] == '8'  # the same 32 samples
  assert len(returns) > 2  # of agents, after each chunk; then of a learned rule


@pytest.mark.slow
@pytest.mark.parametrize(
  'name',
  [
    'adaptation',
    'agents',
    'diffusion',
    'fine_tuning',
    'learned_rules',
    'meta_rl',
    'own_model',
    'quickstart',
  ],
)
def test_a_notebook_runs_and_is_its_script(name):
  nbformat = pytest.importorskip('nbformat')
  nbclient = pytest.importorskip('nbclient')
  jupytext = pytest.importorskip('jupytext')
  if name in ('own_model', 'quickstart'):
    needs_smollm2()
  path = ROOT / 'colabs' / f'{name}.ipynb'
  notebook = nbformat.read(path, as_version=4)
  script = jupytext.read(path.with_suffix('.py'))
  code = lambda book: [c.source for c in book.cells if c.cell_type == 'code']
  assert code(notebook) == code(script)
  nbclient.NotebookClient(
    notebook, timeout=300, kernel_name='python3'
  ).execute()


def test_table_of_benchmarks_is_the_list():
  text = (ROOT / 'docs' / 'benchmarks.md').read_text(encoding='utf-8')
  assert text.endswith(f'\n{list_benchmarks()}\n')


def test_a_benchmark_of_ones_own_works_as_shown(tmp_path):
  text = (ROOT / 'docs' / 'benchmarks.md').read_text(encoding='utf-8')
  (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  (tmp_path / 'mine.py').write_text(code)
  (tmp_path / 'mine.jsonl').write_text('{"n": 2, "group": "even"}\n')
  mine = benchmarks.find(str(tmp_path / 'mine.py'))
  (item,) = mine.load(tmp_path / 'mine.jsonl')
  assert mine.grade(item, ' 4\n', None).score == 1
  assert mine.grade(item, '5', None).score == 0
