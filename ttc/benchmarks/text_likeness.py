"""How alike two texts are, character by character, as `rapidfuzz` counts it.

The InDel similarity of a and b is 100 times `2 LCS / (|a| + |b|)`, with the
length of their longest common subsequence. Cost: `|a| |b|` bit operations, on
words as long as the shorter text.
"""

from collections.abc import Mapping


def ratio(a: str, b: str) -> float:
  """The InDel similarity of two texts, in 0..100; `rapidfuzz.fuzz.ratio`."""
  short, long = sorted((a, b), key=len)
  if not short:
    return 100.0 if not long else 0.0
  shared = _shared(_places(short), len(short), long)
  return 200 * shared / (len(a) + len(b))


def partial_ratio(a: str, b: str) -> float:
  """The likeness of the shorter text and the part of the longer most like it.

  The normalised InDel similarity, 100 times `2 LCS / (|a| + |b|)`, the best
  over the windows of the longer text that are as long as the shorter, and those
  that its ends cut; of texts of one length the windows of both. The same as
  `rapidfuzz.fuzz.partial_ratio`.
  """
  short, long = sorted((a, b), key=len)
  if not short:
    return 100.0 if not long else 0.0
  if short in long:
    return 100.0
  best = _best_window(short, long)
  return max(best, _best_window(long, short)) if len(a) == len(b) else best


def _best_window(short: str, long: str) -> float:
  """See `partial_ratio`; the texts differ."""
  size = len(short)
  masks, best = _places(short), 0.0
  for start in range(1 - size, len(long)):
    window = long[max(start, 0) : start + size]
    # A window that ends (at the right edge: begins) with what the shorter text
    # lacks is no better than its neighbour without it.
    if window[-1 if start <= len(long) - size else 0] not in masks:
      continue
    shared = _shared(masks, size, window)
    best = max(best, 200 * shared / (len(window) + size))
  return best


def _places(text: str) -> dict[str, int]:
  """Where each character stands, as bits."""
  masks: dict[str, int] = {}
  for i, c in enumerate(text):
    masks[c] = masks.get(c, 0) | 1 << i
  return masks


def _shared(masks: Mapping[str, int], size: int, window: str) -> int:
  """Length of the longest common subsequence, a character of it at a time.

  Hyyro, "Bit-parallel LCS-length computation revisited", 2004.
  """
  full = (1 << size) - 1
  row = full
  for c in window:
    match = row & masks.get(c, 0)
    row = ((row + match) | (row - match)) & full
  return size - row.bit_count()
