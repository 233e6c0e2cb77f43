"""The agent with short waits, `python -m tests.simulators.quick_agent DATA SECONDS`; else as `shoal-agent run` has it.

SECONDS is how wrong the board's clock is.
"""

import logging
import sys
from datetime import timedelta
from pathlib import Path

from shoal_agent.clock import system_clock
from shoal_agent.daemon import run_agent
from shoal_agent.settings import (
    AgentSettings,
    FetchSettings,
    LinkSettings,
    OutboxSettings,
    RenewalSettings,
    ServingPlaces,
    TrustSettings,
)


def settings(data_dir: Path) -> AgentSettings:
    """Return settings under which a test need not wait for what a device waits for."""
    return AgentSettings(
        data_dir=data_dir,
        places=ServingPlaces(port=0),
        runtimes=("onnxruntime",),
        link=LinkSettings(
            confirm_timeout_s=3.0,
            reconnect_min_s=0.1,
            reconnect_max_s=0.3,
            report_linger_s=0.1,
            report_progress_s=0.1,
            report_trust_s=0.1,
        ),
        fetch=FetchSettings(silence_s=0.5, retry_min_s=0.1, retry_max_s=0.3),
        outbox=OutboxSettings(resend_min_s=0.3, resend_max_s=1.0, linger_s=0.05),
        renewal=RenewalSettings(look_s=0.2, retry_min_s=0.5, retry_max_s=1.0),
        trust=TrustSettings(
            first_wait_s=2.0, settle_s=0.1, every_s=2.0, retry_min_s=0.3, retry_max_s=1.0, silence_s=1.0, total_s=4.0
        ),
    )


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    wrong = timedelta(seconds=float(sys.argv[2]))
    run_agent(settings(Path(sys.argv[1])), lambda: system_clock() + wrong)
