"""One of the processes that `launch` starts: `python -m atrous.worker RUN_FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from atrous.config.compose import prepare, resolved
from atrous.config.upgrade import upgraded
from atrous.engine.fit import run


def main() -> None:
    prepare()
    folder = Path(sys.argv[1])
    config = OmegaConf.load(folder / "config.yaml")
    run(upgraded(resolved(config)), folder)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
