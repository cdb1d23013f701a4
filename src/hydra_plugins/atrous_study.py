"""Our sweeper where Hydra looks for plugins. Every command imports it, so it imports nothing of ours before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class StudySweeper(BasicSweeper):  # type: ignore[misc]
    """Runs all combinations of the values given, each once, however often the command is started.

    Any launcher of Hydra runs the jobs; it decides nothing.

    Args:
        params: The grid, as overrides; the command line's come on top.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: Sequence[str]) -> None:
        from atrous.studies.study import run_study

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (combinations,) = self.split_arguments(overrides, None)
        run_study(combinations, self.config, loader=self.hydra_context.config_loader, launcher=self.launcher)
