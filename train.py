"""`python train.py [overrides]`: the same as `python -m atrous train`."""

from atrous.cli.train import main

if __name__ == "__main__":
    main()
