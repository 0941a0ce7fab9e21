"""A training child of a group whose second process runs out of memory while the first waits for it."""

from kdaif_worker import child, pipeline

from kdaif.collective import Collective


def run(*_: object) -> None:
    group = Collective.of_this_process()
    if not group.leads:
        raise MemoryError("no room for a batch")
    group.meet()


pipeline.run = run  # type: ignore[assignment]

if __name__ == "__main__":
    child.main()
