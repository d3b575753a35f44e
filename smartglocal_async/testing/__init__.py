"""Help for the tests of a program that uses this package: the pytest plugin."""
