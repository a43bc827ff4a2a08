"""A search as text: the tree of what was written, step by step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_CUT = 300  # characters of a step that are shown


class _Node(NamedTuple):
  text: str
  score: float
  children: list[int]


def search_lines(
  leaves: Sequence[Mapping[str, Any]],
  decode: Callable[[Sequence[int]], str],
) -> list[str]:
  """The tree whose leaves a search returned, a line for each of its branches.

  Args:
    leaves: see `draw_searches.leaf_fields`, with `finish_reason` and `answer`.
    decode: tokens to text.

  Returns:
    Lines: what is below a step is indented; a step with one successor only is
    joined with it. In brackets the number of the last step and its score.
  """
  nodes: dict[int, _Node] = {}
  roots: list[int] = []
  for leaf in leaves:
    begin, siblings = 0, roots
    path = zip(
      leaf['nodes'], leaf['step_scores'], leaf['step_ends'], strict=True
    )
    for name, score, end in path:
      if name not in nodes:
        text = decode(leaf['ids'][begin:end])
        nodes[name] = _Node(text, score, [])
        siblings.append(name)
      begin, siblings = end, nodes[name].children
  by_name = {leaf['id']: leaf for leaf in leaves}
  lines: list[str] = []
  waiting = [(name, 0) for name in sorted(roots, reverse=True)]
  while waiting:
    name, depth = waiting.pop()
    text = nodes[name].text
    while len(nodes[name].children) == 1:
      name = nodes[name].children[0]
      text += nodes[name].text
    indent = '  ' * depth
    lines.append(f'{indent}[{name}] {nodes[name].score:.3f}')
    if name in by_name:
      lines[-1] += f'  {_end(by_name[name])}'
    shown = text.strip()
    shown = shown if len(shown) <= _CUT else f'{shown[:_CUT]} ...'
    lines += [f'{indent}    {line}' for line in shown.split('\n')]
    children = sorted(nodes[name].children, reverse=True)
    waiting += [(child, depth + 1) for child in children]
  return lines


def _end(leaf: Mapping[str, Any]) -> str:
  """How a leaf ended, and what it answers."""
  length = leaf['tokens']
  mean = leaf['sum_logprob'] / max(length, 1)
  said = f'{length} tokens, {leaf["finish_reason"]}, {mean:.2f} nats/token'
  if leaf['parent'] >= 0 and len(leaf['nodes']) == 1:
    said += f', from [{leaf["parent"]}]'
  return said if leaf['answer'] is None else f'{said}: {leaf["answer"]!r}'
