"""Says whether a model treats protected groups alike: demographic parity and equalised odds, with intervals."""
