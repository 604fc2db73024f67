// A queue worker: messages are received in batches, each becomes a JWS (RFC 7515) signed by Key Vault, and is deleted.

import { setTimeout as sleep } from 'node:timers/promises'
import { QueueClient } from '@azure/storage-queue'
import { credential, sign } from './signing.mjs'

const batch = 32
const concurrency = 64
const visibilityTimeout = 30
const shortestPause = 100
const longestPause = Number(process.env.SIGNET_POLL ?? 5) * 1000

const queue = new QueueClient(`${process.env.WorkQueue__queueServiceUri}/${process.env.SIGNET_QUEUE}`, credential)
const inFlight = new Set()
let pause = shortestPause

for (;;) {
  while (inFlight.size > concurrency - batch) await Promise.race(inFlight)
  const messages = await receive()
  for (const message of messages) {
    const work = workOn(message).finally(() => inFlight.delete(work))
    inFlight.add(work)
  }
  if (messages.length > 0) {
    pause = shortestPause
  } else {
    await sleep(pause)
    pause = Math.min(pause * 2, longestPause)
  }
}

async function receive() {
  try {
    const answer = await queue.receiveMessages({ numberOfMessages: batch, visibilityTimeout })
    return answer.receivedMessageItems
  } catch (error) {
    console.error(error.message)
    return []
  }
}

/** What fails is visible to others again after its timeout. */
async function workOn({ messageId, messageText, popReceipt }) {
  try {
    const name = await sign(messageText, { signet_message: messageId })
    await queue.deleteMessage(messageId, popReceipt)
    console.log(`signed ${name}`)
  } catch (error) {
    console.error(error.message)
  }
}
