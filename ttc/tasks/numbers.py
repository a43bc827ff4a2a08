r"""Numbers as people and models write them, read whole or not at all.

`1,234.5`, `1{,}000`, `1 000`, `−3`, `1.5e3`, `3/4`, `1 1/2`, `\frac{3}{4}`,
`2^{10}` and `1.5 \times 10^3` are numbers. `3 + 4`, `10-12`, `3:30`, `1.2.3`,
`5k` and `2x` are not: of those no part is taken for the whole. After `=` stands
the number that counts, so `3 + 4 = 7` is 7.
"""

import fractions
import re

_MINUS = '-\u2212\u2013'
_SIGN = rf'[{_MINUS}+]?'
_SEPARATOR = r"(?:,|\{,\}|\\[,!; ]|[ \u00a0\u2009\u202f_'\u2019])"
# Digits, grouped by threes or not, with a fraction and an exponent.
_PLAIN = (
  rf'(?:\d{{1,3}}(?:{_SEPARATOR}\d{{3}})+(?!\d)|\d+)?(?:\.\d+)?(?<=\d)(?!\d)'
  r'(?:[eE][-+\u2212]?\d+(?!\w))?'
)
_MONEY = r'(?:\\?[$€£])?'
_NUMBER = rf'{_SIGN}{_MONEY}{_SIGN}{_PLAIN}'
_MIXED = rf'{_SIGN}{_MONEY}\d+ \d+/\d+(?![\d/])'
_RATIO = rf'{_SIGN}\\[dt]?frac\s*\{{{_NUMBER}\}}\s*\{{{_NUMBER}\}}'
_TERM = rf'(?:{_RATIO}|{_MIXED}|{_NUMBER})'
_POWER = rf'\^\s*\{{\s*{_SIGN}\d+\s*\}}'
# What joins terms to one expression, of which no term may be taken alone.
_OPERATOR = (
  rf'[ \t]*(?:\*\*|[{_MINUS}+*/^=≈\u00d7÷·:]|\\times|\\cdot|\\div|\\approx)'
  r'[ \t]*'
  r'|[.,](?=\d)'
)
_LIST = r'|,?[ \t]+(?:(?:or|to)[ \t]+)?(?=[-\u2212$]?\d)|,[ \t]*'
# Not inside of a word, an index, or behind an operator that is not its sign.
_START = rf'(?<![{_MINUS}\w.)^/\u00d7÷+])(?<![\^_]\{{)'

# An expression anywhere in a text, and one that stands behind an anchor, where
# a list belongs together, too. Group 1 is the expression.
ANYWHERE = (
  rf'{_START}({_TERM}(?:{_POWER})?(?:(?:{_OPERATOR}){_TERM}(?:{_POWER})?)*)'
)
ANCHORED = (
  rf'({_TERM}(?:{_POWER})?(?:(?:{_OPERATOR}{_LIST}){_TERM}(?:{_POWER})?)*)'
)
_UNIT = re.compile(
  r'\\(?:text|mathrm|textrm|mbox)\s*\{[^{}]*\}|\\?%|\^\s*\{?\\circ\}?|°'
  r'|\\?[$€£]|\\(?:left|right|displaystyle)\b|\\[ ;!](?!\d{3})'
)
_WORDS = {'thousand': 10**3, 'million': 10**6, 'billion': 10**9}
_MAX_EXPONENT = 300  # of ten or of a power: beyond lies only mischief


def value(text: str) -> fractions.Fraction | None:
  """Reads a whole text as one number.

  Args:
    text: perhaps with a unit, a currency or a name in front of `=`.

  Returns:
    The number, None if the text is anything else.
  """
  text = re.split('[=≈]|\\\\approx', text)[-1].replace('\u2212', '-')
  text = _UNIT.sub('', text.replace('\u2013', '-')).strip().rstrip('.*').strip()
  text = re.sub(r'(\\[dt]?frac)\s*(\d)\s*(\d)(?!\d)', r'\1{\2}{\3}', text)
  text, factor = _scale_word(text)
  read = _exact(text)
  return None if read is None else read * factor


def unfinished(text: str, end: int) -> bool:
  """Whether a number goes on behind `end`: `5k`, `2x`, `3√2`, `2^n`."""
  rest = text[end : end + 8]
  # One letter is a factor or a variable, more are a unit or an ordinal.
  return bool(
    re.match(r'[b-zB-HJ-Z](?![a-zA-Z])|[²³√π]|\\(?:pi|sqrt)|\^[^\\]', rest)
  )


def same_number(first: str, second: str) -> bool:
  """Whether two texts are the same number, or the same text."""
  a, b = value(first), value(second)
  if a is None or b is None:
    return a is b and first.strip() == second.strip()
  return a == b


def _scale_word(text: str) -> tuple[str, int]:
  """Splits off what follows the number: a scale word, or a unit."""
  match = re.fullmatch(
    r'(.*\d\}?)(\s+[a-zA-Z].*|[a-zA-Z]{2,}.*|)', text, re.DOTALL
  )
  if match is None:
    return text, 1
  number, unit = match.groups()
  if any(c.isdigit() for c in unit):
    return text, 1
  first = unit.split()[0].lower().rstrip('.,') if unit.split() else ''
  return number, _WORDS.get(first, 1)


def _exact(text: str) -> fractions.Fraction | None:
  full = lambda pattern: re.fullmatch(pattern, text)
  if full(_NUMBER):
    return _decimal(text)
  if full(_MIXED):
    whole, part = text.rsplit(' ', 1)
    whole, part = _decimal(whole), _quotient(*part.split('/'))
    if whole is None or part is None:
      return None
    return whole - part if text.startswith('-') else whole + part
  if match := full(rf'(-?)\\[dt]?frac\s*\{{({_NUMBER})\}}\s*\{{({_NUMBER})\}}'):
    quotient = _quotient(*match.groups()[1:])
    return -quotient if match[1] and quotient is not None else quotient
  if match := full(rf'({_NUMBER})\s*[/÷]\s*({_NUMBER})'):
    return _quotient(*match.groups())
  power = r'\s*(?:\^|\*\*)\s*\{?\s*(-?\d{1,4})\s*\}?'
  if match := full(rf'({_NUMBER}){power}'):
    return _power(_decimal(match[1]), int(match[2]))
  times = r'\s*(?:\u00d7|x|·|\*|\\times|\\cdot)\s*'
  if match := full(rf'({_NUMBER}){times}10{power}'):
    scale = _power(fractions.Fraction(10), int(match[2]))
    number = _decimal(match[1])
    return None if number is None or scale is None else number * scale
  return None


def _decimal(text: str) -> fractions.Fraction | None:
  plain = re.sub(r"[,{}\\!; $€£\s+_'\u2019]", '', text)
  exponent = re.search(r'[eE]([-+]?\d+)$', plain)
  if exponent and abs(int(exponent[1][:8])) > _MAX_EXPONENT:
    return None
  try:
    return fractions.Fraction(plain)
  except ValueError:
    return None


def _quotient(above: str, below: str) -> fractions.Fraction | None:
  numerator, denominator = _decimal(above), _decimal(below)
  if numerator is None or not denominator:
    return None
  return numerator / denominator


def _power(
  base: fractions.Fraction | None, exponent: int
) -> fractions.Fraction | None:
  if base is None or (base == 0 and exponent < 0):
    return None
  size = max(abs(base.numerator), base.denominator).bit_length()
  if size * abs(exponent) > 4 * _MAX_EXPONENT:
    return None
  # A minus in front of a power is not a part of its base.
  sign = -1 if base < 0 else 1
  return sign * abs(base) ** exponent
