"""Transfer: who needs which artifact at the broker, and what stands there."""
