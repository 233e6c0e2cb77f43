"""moto's KMS on a free port of 127.0.0.1, which it prints; it ends with its standard input.

moto 5.2 signs the SHA-256 of what it is given, also where the caller says that this is a digest already
(`MessageType=DIGEST`), so that no signature verifies. AWS signs that digest, and so does this one, which takes nothing
else.
"""

import sys
from contextlib import redirect_stdout

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer


def _sign_digest(key: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    if signing_algorithm != "ECDSA_SHA_256":
        raise ValueError(signing_algorithm)
    signature: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
    return signature


if __name__ == "__main__":
    ECDSAPrivateKey.sign = _sign_digest
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    with redirect_stdout(sys.stderr):  # what Flask has to say
        server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()
