"""`python -m atrous <command>`."""

from atrous.cli.main import main

if __name__ == "__main__":
    main()
