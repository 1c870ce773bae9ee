"""`python -m flows.recrawl`: crawls again and brings everything else up to date; DVC decides what has work to do.

`python -m flows.recrawl --serve` waits for the schedule of the deployment `recrawl/nightly` instead, which is what
`make ui` starts.
"""

import argparse
import asyncio
import signal
import sys
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed, Failed

from flows import PROJECT, server, stages
from flows.address import ADDRESS

DEPLOYMENT = "nightly"
NIGHTLY = "0 3 * * *"


@flow(persist_result=False, validate_parameters=False)
def recrawl() -> State:
    """Crawls again; ends Failed when the crawl or a stage after it does.

    What comes after the crawl runs whether or not that found something: a night on which a source or a stage failed may
    have left pictures that no model knows, and DVC, which compares with what each stage last read, is who can tell.
    """
    before = pictures()
    state: State = stages.FLOWS["scrape"](force=True, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    after = pictures()
    found = f"new pictures: {len(after - before):,}, gone: {len(before - after):,}"
    if after == before:
        found = f"nothing new among {len(after):,} pictures"
    get_run_logger().info(found)
    state = stages.run_all([stage for stage in stages.FLOWS if stage != "scrape"])
    if state.is_completed():
        state.message = f"{found}; {state.message}"
    return state


def pictures() -> set[tuple[str, str]]:
    """Class and SHA-256 of every crawled picture that is used; empty before the first crawl."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(PROJECT / "data" / "raw" / "manifest.parquet", columns=["class", "sha256", "used"])
    except FileNotFoundError:
        return set()
    rows = zip(*(table[name].to_pylist() for name in ("class", "sha256", "used")), strict=True)
    return {(name, sha) for name, sha, used in rows if sha and used}


def serve_nightly() -> None:
    """Waits for the deployment's schedule, until Ctrl-C.

    The nightly schedule is given to a new deployment only: from then on it is what a person makes of it in Prefect's
    UI. For the same reason nothing is paused when the waiting ends.
    """
    with get_client(sync_client=True) as client:
        found = _deployment(client)
        if found is not None:
            _end_abandoned(client, found.id)
    deployment = RunnerDeployment.from_flow(
        recrawl,
        DEPLOYMENT,
        schedules=_schedules(found),
        paused=found.paused if found else False,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        description="Crawls the sources again and retrains when there are new pictures.",
    )
    runner = Runner(name=recrawl.name, pause_on_shutdown=False)
    runner.add_deployment(deployment)
    ADDRESS.write_text(f"{PREFECT_API_URL.value()}\n", encoding="utf-8")
    asyncio.run(_wait(runner))


def _schedules(found: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """Those of the deployment as they are: registering it again would drop what is not given again."""
    if found is None:
        return [DeploymentScheduleCreate(schedule=CronSchedule(cron=NIGHTLY, timezone="UTC"))]
    return [
        DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=one.parameters, slug=one.slug)
        for one in found.schedules
    ]


async def _wait(runner: Runner) -> None:
    """Runs what is due until Ctrl-C, and then cancels what is running, so that it does not stay `Running` for ever."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
    waiting = [asyncio.create_task(runner.start()), asyncio.create_task(asked.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if asked.is_set() and runner.started:
        await runner.astop()
    elif asked.is_set():
        waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=asked.is_set())


def _deployment(client: SyncPrefectClient) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{recrawl.name}/{DEPLOYMENT}")
    except ObjectNotFound:
        return None


def _end_abandoned(client: SyncPrefectClient, deployment: UUID) -> None:
    """Marks as crashed what was running when the process before this one was killed; it would hold the only slot."""
    running = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    )
    of_deployment = FlowRunFilterDeploymentId(any_=[deployment])
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=of_deployment, state=running))
    parents = FlowRunFilterParentFlowRunId(any_=[run.id for run in runs])
    stages_of_them = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parents, state=running))
    for run in [*stages_of_them, *runs]:
        client.set_flow_run_state(run.id, Crashed(message="what ran it was ended from outside"), force=True)


def main(arguments: list[str] | None = None) -> int:
    """Crawls again once, or serves the deployment.

    Returns:
        0 when it went well, 2 when it failed, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m flows.recrawl", description="Crawls again and brings the rest up to date."
    )
    parser.add_argument(
        "--serve", action="store_true", help="wait for the schedule of recrawl/nightly (needs a server)"
    )
    if parser.parse_args(arguments).serve:
        serve_nightly()
        return 0
    return server.run(recrawl)


if __name__ == "__main__":
    sys.exit(main())
