"""Run the command line: ``python -m smartglocal_async``."""

from .cli import main

main()
