"""Operators: the people and programs that use the hub, by password, OIDC or token, and what each may do."""
