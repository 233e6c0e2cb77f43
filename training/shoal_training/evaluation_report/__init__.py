"""Shows what an evaluation came to: one page with pictures, and what goes into the model card and the bundle."""
