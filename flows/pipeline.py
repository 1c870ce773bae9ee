"""`python -m flows.pipeline`: every stage in order, each a flow run of its own; DVC decides which have work to do."""

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows import server, stages


@flow(persist_result=False, validate_parameters=False)
def pipeline() -> State:
    """Reproduces every stage; ends Failed with the first that fails."""
    return stages.run_all(list(stages.FLOWS))


if __name__ == "__main__":
    sys.exit(server.run(pipeline))
