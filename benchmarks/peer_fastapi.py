"""FastAPI and uvicorn with our model, for `serve.py`: `python peer_fastapi.py PORT PROCESSES THREADS MODEL FORMAT`.

With uvloop and httptools; the processes share one listening socket.
"""

import asyncio
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from imageloom.predictor import Predictor


def application(folder: str, format: str, threads: int) -> FastAPI:
    """Does with a picture what our server does, by the same `Predictor`, in so many threads."""
    predictor, pool, app = Predictor(Path(folder), format), ThreadPoolExecutor(threads), FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        data = await request.body()
        prediction = await asyncio.get_running_loop().run_in_executor(pool, predictor.predict, data)
        return JSONResponse(prediction.to_dict())

    return app


if __name__ == "__main__":
    port, processes, threads = map(int, sys.argv[1:4])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        for _ in range(processes - 1):
            if os.fork() == 0:
                break
        uvicorn.run(
            application(*sys.argv[4:6], threads),
            fd=listener.fileno(),
            log_level="error",
            access_log=False,
            loop="uvloop",
            http="httptools",
        )
