"""What rules add to generated tests, and what they leave alone."""

from ttc.benchmarks import generated_tests

JAVA = """### Tests
```java
void testAdds() {
  assertEquals(3, Sum.add(1, 2));
}

@Test
public void testNone() {}

void helper() {}
```"""


def test_code_is_taken_out_of_markdown():
  code_of = generated_tests.code_of
  assert code_of('x = 1') == 'x = 1'
  assert code_of('So:\n```python\nx = 1\n```\nDone.') == 'x = 1\n'
  assert code_of('```\na\n```\n```py\nlonger\n```') == 'longer\n'
  assert code_of('```python\nx = 1\ny') == 'x = 1\ny'
  assert code_of('<think>```\nno\n```</think>```\nyes\n```') == 'yes\n'


def test_python_gets_the_imports_that_are_missing():
  repair = generated_tests.repair_python
  tests = 'def test_x(y):\n  with pytest.raises(KeyError):\n    f(y, g.z)\n'
  mended = repair(tests, 'pack.mod', ['f', 'h'])
  assert mended == f'import pytest\nfrom pack.mod import f\n{tests}'
  assert repair(mended, 'pack.mod', ['f', 'h']) == mended
  whole = 'from pack.mod import *\ndef test_x(): f()\n'
  assert repair(whole, 'pack.mod', ['f']) == whole
  assert repair('mod.f()', 'mod', ['f']) == 'import mod\nmod.f()'
  future = 'from __future__ import annotations\nf()'
  assert repair(future, 'm', ['f']).splitlines()[1] == 'from m import f'
  assert repair('def (', 'm', ['f']) == 'def ('


def test_java_gets_package_imports_class_and_annotations():
  text = generated_tests.repair_java(
    generated_tests.code_of(JAVA), 'a.b', ['java.util.List'], 'Sum'
  )
  lines = text.splitlines()
  assert lines[:4] == [
    'package a.b;',
    'import java.util.List;',
    'import org.junit.jupiter.api.Test;',
    'import static org.junit.jupiter.api.Assertions.*;',
  ]
  assert 'public class SumTest {' in lines and lines[-1] == '}'
  assert text.count('@Test') == 2
  assert lines[lines.index('@Test') + 1] == 'void testAdds() {'
  assert generated_tests.repair_java(
    text, 'a.b', ['java.util.List'], 'Sum'
  ) == (text)
