"""Batch inference at the hub: a model answers the rows of a source, by hand or by schedule, in a job.

Not to be mistaken for `batches`, the jobs in which *devices* answer files that lie there.
"""
