// Verifies a JWS with a key set, as anybody would who knows nothing of Signet: {"jws": …, "keys": …} on standard input,
// the payload in Base64 on standard output. With "pem": a kid, prints that key's public half in PEM instead.
import { createPublicKey } from 'node:crypto'
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const packages = createRequire(`${process.argv[2]}/`)
const { compactVerify, createLocalJWKSet, flattenedVerify } = await import(pathToFileURL(packages.resolve('jose')))
const { jws, keys, pem } = JSON.parse(await text(process.stdin))
if (pem) {
  const jwk = keys.keys.find((key) => key.kid === pem)
  process.stdout.write(createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }))
} else {
  const set = createLocalJWKSet(keys)
  const { payload } = typeof jws === 'string' ? await compactVerify(jws, set) : await flattenedVerify(jws, set)
  process.stdout.write(Buffer.from(payload).toString('base64'))
}
