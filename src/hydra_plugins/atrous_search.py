"""Our search where Hydra looks for plugins. Every command imports it, so it imports nothing of ours before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class SearchSweeper(BasicSweeper):  # type: ignore[misc]
    """Draws values by what came of the earlier ones, trains with them, and goes on where it was stopped.

    Any launcher of Hydra runs the jobs; it decides nothing.

    Args:
        params: The space, as overrides; the command line's replace them.
        trials: How many different settings are tried.
        jobs: How many are drawn and launched together.
        seed: Of the draws.
        pruning: `after_trials` and `after_validations`, from when on a trial may be given up; None: none is.
    """

    def __init__(
        self,
        *,
        params: dict[str, Any] | None = None,
        trials: int = 20,
        jobs: int = 1,
        seed: int = 0,
        pruning: dict[str, int] | None = None,
    ) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.settings: dict[str, Any] = {"trials": trials, "jobs": jobs, "seed": seed, "pruning": pruning}

    def sweep(self, arguments: Sequence[str]) -> None:
        from atrous.studies.search import run_search

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        loader = self.hydra_context.config_loader
        run_search(overrides, self.config, loader=loader, launcher=self.launcher, **self.settings)
