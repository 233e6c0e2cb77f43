"""Looks at rows before anything is learned from them: checks that are data, what fails them, and a report."""
