"""Finds the module of a command and runs it. Imports only what the command needs."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "browse": "look at samples as the network gets them",
    "train": "train a network; also `python train.py`",
    "evaluate": "score a checkpoint on a split",
    "compare": "tell whether two runs differ by more than chance; also `evaluate --compare`",
    "predict": "label images: a file, a folder or a glob",
    "export": "write a network as ONNX or a torch program, checked",
    "audit": "read every file of a data set and tell what is wrong",
    "analyse": "tell what a network sees: receptive fields, valid weights, checkerboards",
    "profile": "measure what networks cost: time, memory, MACs, energy",
    "report": "turn run folders into tables and one HTML page",
    "lab": "join score, context, receptive fields and cost of a study of rates on one page",
    "tune_crf": "find the dense CRF's settings for a checkpoint",
}


def main() -> None:
    """The console script `atrous` and `python -m atrous`: `atrous <command> [arguments]`."""
    command, *words = sys.argv[1:] or [""]
    if command == "evaluate" and "--compare" in words:
        command, words = "compare", [word for word in words if word != "--compare"]
    if command in COMMANDS:
        importlib.import_module(f"atrous.cli.{command}").main(words)
        return
    lines = ["usage: atrous <command> [arguments]      (atrous <command> --help tells more)", ""]
    lines += [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    if command in ("", "-h", "--help"):
        print("\n".join(lines))
        return
    print("\n".join([f"atrous: no command {command!r}", *lines]), file=sys.stderr)
    sys.exit(2)
