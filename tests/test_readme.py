"""README's list of models is what conf/model says. `python tests/test_readme.py` writes it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- models -->", "<!-- /models -->"


def model_table():
    """One row for each yaml: its name, and its first comment line with links."""
    rows = ["| `model=` | |", "|---|---|"]
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml")):
        first = path.read_text().splitlines()[0]
        assert first.startswith("# "), f"{path.name} must open with a comment that says what the model is"
        rows.append(f"| `{path.stem}` | {linked(first.removeprefix('# '))} |")
    return "\n".join(rows)


def linked(text):
    """A URL becomes the link of the authors and year before it, or of its own address."""
    text = re.sub(r"\b_|_\b", r"\\_", text)
    text = re.sub(r"([(;] ?)([^(;]*\d{4}), (https://[^\s),;]+)", r"\1[\2](\3)", text)
    return re.sub(r"(?<!\]\()https://([^\s),;]+)", r"[\1](https://\1)", text)


def test_models_are_those_of_conf():
    _, _, after = README.read_text().partition(f"{BEGIN}\n")
    table, _, _ = after.partition(f"\n{END}")
    assert table.strip() == model_table(), "README.md is out of date; run `python tests/test_readme.py`"


def test_links():
    assert (
        linked("Net (A, B 2015, https://x.org/1; TPAMI 2017) on C")
        == "Net ([A, B 2015](https://x.org/1); TPAMI 2017) on C"
    )
    assert linked("any (https://x.org/a_b)") == "any ([x.org/a_b](https://x.org/a_b))"
    assert linked("own: model._target_=a.b_c") == r"own: model.\_target\_=a.b_c"


if __name__ == "__main__":
    head, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{head}{BEGIN}\n\n{model_table()}\n\n{END}{rest.partition(END)[2]}")
