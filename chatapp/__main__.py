"""The command line: `python -m chatapp`."""

from chatapp.cli import cli

if __name__ == "__main__":
    cli(prog_name="python -m chatapp")
