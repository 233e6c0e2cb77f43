"""Reads exported programs of PyTorch (`.pt2`), which are data and a graph, no pickled code of the model's author."""

import io

from shoal_compression.errors import SourceError
from shoal_compression.extras import says_extra


def check_torch(content: bytes) -> None:
    """See that a file is an exported program with finite weights.

    Raises:
        SourceError: It is none, or a weight is NaN or infinite.
        MissingLibraryError: PyTorch is not installed.
    """
    with says_extra("reading a PyTorch model"):
        import torch
    try:
        program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # the reader's errors share no base class
        msg = f"reading a PyTorch model: {str(error)[:300]}"
        raise SourceError(f"{msg}; write it with torch.export.save(torch.export.export(model, inputs))") from error
    for name, values in program.state_dict.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            found = f"the weight {name} has nan or infinity in {int((~torch.isfinite(values)).sum())} places"
            raise SourceError(f"reading a PyTorch model: {found}; train it again, with a lower learning rate")
