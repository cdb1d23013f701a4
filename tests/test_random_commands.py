"""A hundred random trainings: each ends in a result, or in one sentence that names a key and what to do."""

import re
import warnings

import pytest
from random_commands import SIZES, command

from atrous.api import train
from atrous.config.messages import error_message

REMEDY = re.compile(r"\b(give|use|choose|expected|change|raise|add|leave|lists?|try|take)\b", re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_random_command_ends_well(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warnings.simplefilter("ignore")  # of impractical settings there are many
    words = command(seed)
    try:
        run = train(*words)
    except Exception as error:
        message = error_message(error)
        assert message is not None, f"a traceback of {words}"
        names = {part for word in words if word not in SIZES for part in re.split(r"[.=]", word.partition("=")[0])}
        names |= {word.partition("=")[2] for word in words}
        assert any(
            re.search(rf"\b{re.escape(name)}\b", message.replace(" ", "_")) or name in message for name in names
        ), message
        assert REMEDY.search(message), message
        assert "\n" not in message, message
    else:
        assert (run.folder / "result.json").is_file()
