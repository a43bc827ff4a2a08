"""Two projects of five tasks each, with an agent that errs where it is told."""

from collections.abc import Mapping

from ttc.benchmarks.web_bench import Attempt, Project, ProjectTask

_NOTES = (
  (
    'Write a class Notes in notes.py with add(text) and a list items.',
    'class Notes:\n  def __init__(self):\n    self.items = []\n\n'
    '  def add(self, text):\n    self.items.append(text)\n',
    'n = Notes()\n  n.add("a")\n  assert n.items == ["a"]',
  ),
  (
    'remove(text) takes the first such note away; unknown ones are ignored.',
    '\n  def remove(self, text):\n    if text in self.items:\n'
    '      self.items.remove(text)\n',
    'n = Notes()\n  n.add("a")\n  n.remove("a")\n  n.remove("b")\n'
    '  assert n.items == []',
  ),
  (
    'find(part) returns the notes that contain a text.',
    '\n  def find(self, part):\n'
    '    return [x for x in self.items if part in x]\n',
    'n = Notes()\n  n.add("ab")\n  n.add("c")\n  assert n.find("b") == ["ab"]',
  ),
  (
    'count() returns the number of notes that differ.',
    '\n  def count(self):\n    return len(set(self.items))\n',
    'n = Notes()\n  n.add("a")\n  n.add("a")\n  assert n.count() == 1',
  ),
  (
    'page(i, size) returns the i-th page of so many notes.',
    '\n  def page(self, i, size):\n'
    '    return self.items[i * size:(i + 1) * size]\n',
    'n = Notes()\n  for x in "abc": n.add(x)\n  assert n.page(1, 2) == ["c"]',
  ),
)
_MENU = (
  (
    'menu.py has render(entries), which gives <ul> with <li> for each entry.',
    'def render(entries):\n'
    '  items = "".join(f"<li>{x}</li>" for x in entries)\n'
    '  return f"<ul>{items}</ul>"\n',
    'assert render(["a"]) == "<ul><li>a</li></ul>"',
  ),
  (
    'escape(text) makes < and & safe.',
    '\n\ndef escape(text):\n'
    '  return text.replace("&", "&amp;").replace("<", "&lt;")\n',
    'assert escape("<&") == "&lt;&amp;"',
  ),
  (
    'link(text, url) gives an <a> whose text is escaped.',
    '\n\ndef link(text, url):\n'
    '  return f\'<a href="{url}">{escape(text)}</a>\'\n',
    'assert link("<", "u") == \'<a href="u">&lt;</a>\'',
  ),
  (
    'menu(pairs) renders links.',
    '\n\ndef menu(pairs):\n  return render([link(*x) for x in pairs])\n',
    'assert menu([("a", "u")]) == \'<ul><li><a href="u">a</a></li></ul>\'',
  ),
  (
    'parse(html) gives the texts of the links again.',
    '\n\ndef parse(html):\n  import re\n'
    '  found = re.findall(r"<a [^>]*>(.*?)</a>", html)\n'
    '  return [x.replace("&lt;", "<").replace("&amp;", "&") for x in found]\n',
    'assert parse(menu([("a&<", "u")])) == ["a&<"]',
  ),
)


def _project(name: str, steps) -> Project:
  tasks = [
    ProjectTask(
      f'{name}-{i + 1}',
      says,
      f'from {name} import *\n\ndef test_it():\n  {test}\n',
    )
    for i, (says, _, test) in enumerate(steps)
  ]
  return Project(name, {f'{name}.py': '# Nothing yet.\n'}, tuple(tasks))


PROJECTS = (_project('notes', _NOTES), _project('menu', _MENU))
_STEPS = {'notes': _NOTES, 'menu': _MENU}


def agent(failures: Mapping[str, int]):
  """An agent that fails at some tasks so many times, and else is right."""

  def edit(attempt: Attempt):
    name, number = attempt.task.id.rsplit('-', 1)
    path = f'{name}.py'
    text = _STEPS[name][int(number) - 1][1]
    if attempt.number < failures.get(attempt.task.id, 0):
      text = text.replace('return', 'return not').replace('append', 'count')
      text = text.replace('self.items.remove', 'print')
    return {path: attempt.files[path] + text}

  return edit
