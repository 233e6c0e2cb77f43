"""Trials: a version that runs on devices beside the one that serves, to be compared before it is rolled out."""
