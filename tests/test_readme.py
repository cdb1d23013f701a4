"""README's lists of models, data and methods are what conf/ says. `python tests/test_readme.py` writes them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GROUPS = ("model", "data", "method")


def table(group):
    """One row for each yaml: its name, and the first sentence of its opening comment; of a model or method its first line."""
    rows = [f"| `{group}=` | |", "|---|---|"]
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        comment = re.match(r"(# .*\n)+", path.read_text())
        assert comment, f"{path.name} must open with a comment that says what it is"
        lines = [line.removeprefix("# ") for line in comment[0].splitlines() if not line.startswith("# @")]
        text = lines[0] if group in ("model", "method") else re.split(r"\. (?=[A-Z])|\.$", " ".join(lines))[0]
        rows.append(f"| `{path.stem}` | {linked(text)} |")
    return "\n".join(rows)


def linked(text):
    """A URL becomes the link of the authors and year before it, or of its own address."""
    text = re.sub(r"\b_|_\b", r"\\_", text)
    text = re.sub(r"([(;] ?)([^(;]*\d{4}), (https://[^\s),;]+)", r"\1[\2](\3)", text)
    return re.sub(r"(?<!\]\()https://([^\s),;]+)", r"[\1](https://\1)", text)


@pytest.mark.parametrize("group", GROUPS)
def test_lists_are_those_of_conf(group):
    _, _, after = README.read_text().partition(f"<!-- {group} -->\n")
    found, _, _ = after.partition(f"\n<!-- /{group} -->")
    assert found.strip() == table(group), "README.md is out of date; run `python tests/test_readme.py`"


def test_links():
    assert (
        linked("Net (A, B 2015, https://x.org/1; TPAMI 2017) on C")
        == "Net ([A, B 2015](https://x.org/1); TPAMI 2017) on C"
    )
    assert linked("any (https://x.org/a_b)") == "any ([x.org/a_b](https://x.org/a_b))"
    assert linked("own: model._target_=a.b_c") == r"own: model.\_target\_=a.b_c"


if __name__ == "__main__":
    text = README.read_text()
    for group in GROUPS:
        head, _, rest = text.partition(f"<!-- {group} -->")
        text = f"{head}<!-- {group} -->\n\n{table(group)}\n\n<!-- /{group} -->{rest.partition(f'<!-- /{group} -->')[2]}"
    README.write_text(text)
