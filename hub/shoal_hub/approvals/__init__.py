"""Approvals: what other people have to agree to before it happens, asked for, given, and then done."""
