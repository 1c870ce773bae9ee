"""When the pipeline runs, who is told, and what it looked like: Prefect around DVC, and no machine learning.

Prefect reads its settings while it is imported, so where it keeps its things is settled here, before any module of
this package imports it: beside the project and not in the user's home, and without a word to anybody.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

os.environ.setdefault("PREFECT_HOME", str(PROJECT / ".prefect"))
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # 20 do not suffice on a busy machine
os.environ.setdefault("DO_NOT_TRACK", "1")

HOME = Path(os.environ["PREFECT_HOME"])
