"""`python -m dinoport` is `dinoport`."""

from dinoport.cli import main

main()
