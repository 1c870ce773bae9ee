"""LitServe with our model, for `serve.py`: `python peer_litserve.py PORT WORKERS SPEAKERS MODEL FORMAT`.

Each worker is a process, and so is each that speaks HTTP. Pictures come as raw bodies: forms, its
examples' way, are slower.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Body

from imageloom.predictor import Predictor


class Api(litserve.LitAPI):
    """Does with a picture what our server does, by the same `Predictor`."""

    def __init__(self, folder: str, format: str) -> None:
        super().__init__()
        self.model = folder, format

    def setup(self, device: str) -> None:
        """Opens the model in a worker."""
        folder, format = self.model
        self.predictor = Predictor(Path(folder), format)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """The body."""
        return request

    def predict(self, data: bytes) -> dict[str, Any]:
        """The answer."""
        return self.predictor.predict(data).to_dict()

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The same."""
        return output


if __name__ == "__main__":
    api = Api(*sys.argv[4:6])
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=60)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=int(sys.argv[3]),
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
