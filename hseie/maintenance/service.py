"""The maintenance process: does its duties, each in rounds of its own. Never in the ingest path."""

import asyncio
from typing import Any

from hseie.archive import Archive
from hseie.config import Config
from hseie.maintenance.archive import ArchiveDuty
from hseie.maintenance.duty import Duty, Rounds, Troubles
from hseie.maintenance.partitions import PartitionDuty
from hseie.maintenance.rollups import RollupDuty
from hseie.maintenance.vacuum import VacuumDuty
from hseie.process import Child


async def serve(child: Child, config: Config, postgres_url: str) -> None:
    """Be the maintenance process until told to stop. Ready at once, with PostgreSQL away too."""
    maintenance = Maintenance(child.log, config, postgres_url)
    child.report = maintenance.report
    child.ready()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(rounds.run()) for rounds in maintenance.rounds]
    stopping = loop.create_task(child.stopping.wait())
    done, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, stopping):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done - {stopping}:
        task.result()  # a duty only ends by an error that nobody foresaw: the supervisor starts anew


class Maintenance:
    """All duties and their rounds."""

    def __init__(self, log: Any, config: Config, postgres_url: str) -> None:
        archive = Archive.of(config)  # one for all, so that its memory is what the configuration says
        duties: tuple[Duty, ...] = (
            PartitionDuty(log, config),
            RollupDuty(log, config, postgres_url, archive),
            VacuumDuty(log, config),
            ArchiveDuty(log, config, archive),
        )
        self.troubles = Troubles(log)
        self.rounds = [Rounds(duty, self.troubles, config, postgres_url) for duty in duties]

    def report(self) -> dict[str, Any]:
        """Return the figures for the heartbeat; `trouble` is empty where all is well."""
        figures = {"rounds": sum(rounds.finished for rounds in self.rounds), "trouble": str(self.troubles)}
        for rounds in self.rounds:
            figures |= rounds.duty.report()
        return figures
