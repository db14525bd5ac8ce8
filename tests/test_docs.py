"""The examples in README and docs run as they stand."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/getting_started.md", "docs/your_own_system.md")


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": "__main__"})
    assert "nan" not in capsys.readouterr().out.lower()
    assert jax.config.read("jax_enable_x64")
