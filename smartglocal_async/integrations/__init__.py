"""Integrations, one module for each framework; only that module imports the framework."""
