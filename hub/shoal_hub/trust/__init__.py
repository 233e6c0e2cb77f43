"""Who is who and what exists: two authorities, the director's key, the TUF repository, and where keys lie."""
