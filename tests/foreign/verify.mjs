// Verifies results with a key set, as anybody would who knows nothing of Signet, by code of others: jose for JWS,
// @auth0/cose for COSE, @sigstore/core and Node's own crypto for DSSE. On standard input {"keys": …} and one of
// {"jws": …}, {"cose": Base64, "kid": …}, {"dsse": …, "hash": …}; on standard output the payload in Base64. Of a list of JWS,
// the payloads line by line. With "content" in Base64, a JWS or COSE message is detached. With {"pem": kid}, that key's public
// half in PEM.
import { createPublicKey } from 'node:crypto'
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const packages = createRequire(`${process.argv[2]}/`)
const load = (name) => import(pathToFileURL(packages.resolve(name)))
const { jws, cose, dsse, content, pem, keys, kid, hash } = JSON.parse(await text(process.stdin))
const key = (kid) => createPublicKey({ key: keys.keys.find((key) => key.kid === kid), format: 'jwk' })
const payload = (bytes) => process.stdout.write(Buffer.from(bytes).toString('base64'))

if (pem) {
  process.stdout.write(key(pem).export({ type: 'spki', format: 'pem' }))
} else if (cose) {
  const { Sign1 } = await load('@auth0/cose')
  const message = Sign1.decode(Buffer.from(cose, 'base64'))
  const detachedPayload = content && Buffer.from(content, 'base64')
  await message.verify(key(kid), { detachedPayload })
  payload(detachedPayload ?? message.payload)
} else if (dsse) {
  const { default: sigstore } = await load('@sigstore/core')
  const body = Buffer.from(dsse.payload, 'base64')
  const encoded = sigstore.dsse.preAuthEncoding(dsse.payloadType, body)
  const [{ keyid, sig }] = dsse.signatures
  if (!sigstore.crypto.verify(encoded, key(keyid), Buffer.from(sig, 'base64'), hash)) throw new Error('not valid')
  payload(body)
} else if (content) {
  const { createLocalJWKSet, flattenedVerify } = await load('jose')
  const [protected_, , signature] = typeof jws === 'string' ? jws.split('.') : [jws.protected, '', jws.signature]
  const document = { protected: protected_, signature, payload: Buffer.from(content, 'base64') }
  payload((await flattenedVerify(document, createLocalJWKSet(keys))).payload)
} else {
  const { compactVerify, createLocalJWKSet, flattenedVerify } = await load('jose')
  const set = createLocalJWKSet(keys)
  const verify = (jws) => (typeof jws === 'string' ? compactVerify(jws, set) : flattenedVerify(jws, set))
  const verified = await Promise.all([jws].flat().map(verify))
  process.stdout.write(verified.map(({ payload }) => Buffer.from(payload).toString('base64')).join('\n'))
}
