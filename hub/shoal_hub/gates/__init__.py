"""Gates between waves: what devices on the new version and on the old one say at the same time, and the verdict."""
