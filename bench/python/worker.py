"""A queue worker: messages are received in batches, each becomes a JWS (RFC 7515) signed by Key Vault, and is deleted."""

import asyncio
import logging
import os

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient
from signing import Signer, log_to_output

BATCH = 32
CONCURRENCY = 64
VISIBILITY_TIMEOUT = 30
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = float(os.environ.get("SIGNET_POLL", "5"))
log = logging.getLogger("worker")


class Worker:
    """Works on what is on a queue, so many messages at once."""

    def __init__(self, queue: QueueClient, signer: Signer) -> None:
        self.queue = queue
        self.signer = signer
        self.in_flight: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            while len(self.in_flight) > CONCURRENCY - BATCH:
                await asyncio.wait(self.in_flight, return_when=asyncio.FIRST_COMPLETED)
            if await self.receive() > 0:
                pause = SHORTEST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def receive(self) -> int:
        """Begins with a batch; how many messages that were."""
        received = 0
        try:
            async for message in self.queue.receive_messages(
                messages_per_page=BATCH, max_messages=BATCH, visibility_timeout=VISIBILITY_TIMEOUT
            ):
                received += 1
                task = asyncio.create_task(self.work_on(message))
                self.in_flight.add(task)
                task.add_done_callback(self.in_flight.discard)
        except AzureError:
            log.exception("the queue cannot be read")
        return received

    async def work_on(self, message: QueueMessage) -> None:
        """What fails is visible to others again after its timeout."""
        try:
            name = await self.signer.sign(message.content, {"signet_message": message.id})
            await self.queue.delete_message(message)
        except Exception:
            log.exception("it comes again")
        else:
            log.info("signed %s", name)


async def main() -> None:
    log_to_output()
    signer = Signer(os.environ["SIGNET_KEY"], os.environ["SIGNET_RESULTS"])
    await signer.warm_up()
    service, name = os.environ["WorkQueue__queueServiceUri"], os.environ["SIGNET_QUEUE"]
    await Worker(QueueClient(service, name, credential=signer.credential), signer).run()


if __name__ == "__main__":
    asyncio.run(main())
