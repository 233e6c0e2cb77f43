"""The contract's errors. Everything that this package raises on bad input derives from `ContractError`."""


class ContractError(Exception):
    """Root of the errors that the contract raises."""


class MessageError(ContractError):
    """A message does not have the form that its topic asks for."""


class EnvelopeError(ContractError):
    """An envelope is malformed, or none of its signatures is by a trusted key."""


class TopicError(ContractError):
    """A topic is not one of the contract's, or a part of it has the wrong form."""


class EncryptionError(ContractError):
    """A wrapped key or an encrypted file does not open under the key and for the use that are at hand."""


class TransferError(ContractError):
    """A chunk, a chunk list or a whole artifact does not match its hash or size."""


class CompositionFitError(ContractError):
    """Models can not be served as one as it is declared."""
