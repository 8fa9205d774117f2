"""`python -m dinoport` is `dinoport`."""

from dinoport.cli.commands import main

main()
