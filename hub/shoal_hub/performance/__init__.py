"""Performance of deployed models: by the truth that came back, and by an estimate where none did."""
