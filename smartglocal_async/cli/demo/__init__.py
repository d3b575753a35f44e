"""The demo: an emulated provider in this process, and what a client does with it."""
