"""Says how good a model is: on rows held out by a stated scheme, by metrics, by slice, beside the champion."""
