// An Azure Functions custom handler: a queue message in, a JWS (RFC 7515) signed by Key Vault out.

import { createServer } from 'node:http'
import { sign } from './signing.mjs'

createServer(async (request, response) => {
  const [status, answer] = await route(request)
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}).listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), '127.0.0.1')

async function route(request) {
  if (request.method !== 'POST') return [200, { status: 'ok' }]
  try {
    const invocation = JSON.parse(await text(request))
    const message = Buffer.from(invocation.Data.message, 'base64').toString('utf8')
    const name = await sign(message, {
      signet_invocation: request.headers['x-azure-functions-invocationid'] ?? ''
    })
    console.log(`signed ${name}`)
    return [200, {}]
  } catch (error) {
    console.error(error.message)
    return [503, { error: { code: error.code ?? error.name, message: error.message } }]
  }
}

async function text(stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
