// What every way in has in common: a work item in, a JWS (RFC 7515) signed by Key Vault out.

import { createHash } from 'node:crypto'
import { ManagedIdentityCredential } from '@azure/identity'
import { CryptographyClient, KeyClient, parseKeyVaultKeyIdentifier } from '@azure/keyvault-keys'
import { ContainerClient } from '@azure/storage-blob'

const keyUrl = process.env.SIGNET_KEY
// A vault behind another name, on this machine: its challenge does not name the host that was asked.
const vaultOptions = { disableChallengeResourceVerification: new URL(keyUrl).hostname === 'localhost' }
export const credential = new ManagedIdentityCredential()
const results = new ContainerClient(process.env.SIGNET_RESULTS, credential)
const ready = warmUp()
// Whoever awaits it meets the failure; the process goes on.
ready.catch((error) => console.error('warm-up:', error.message))

/** Signs an item's payload and creates its result, whose name is returned; `origin` is metadata that says where it came from. */
export async function sign(message, origin) {
  const { key, cryptography } = await ready
  const { id } = JSON.parse(message)
  const payload = member(message, 'payload')
  const alg = key.keyType.startsWith('RSA') ? 'PS256' : 'ES256'
  const header = { alg, kid: key.id, cty: 'application/json', iat: Math.floor(Date.now() / 1000) }
  const jws = { payload: base64url(payload), protected: base64url(JSON.stringify(header)) }
  const digest = createHash('sha256').update(`${jws.protected}.${jws.payload}`).digest()
  const { result } = await cryptography.sign(alg, digest)
  jws.signature = base64url(result)

  const name = `${id}.jws.json`
  const document = JSON.stringify(jws)
  try {
    await results.getBlockBlobClient(name).upload(document, Buffer.byteLength(document), {
      conditions: { ifNoneMatch: '*' },
      blobHTTPHeaders: { blobContentType: 'application/jose+json' },
      metadata: {
        signet_sha256: createHash('sha256').update(payload).digest('hex'),
        signet_kid: key.id,
        signet_alg: alg,
        signet_version: '1.0.0',
        ...origin
      }
    })
  } catch (error) {
    // It came again: the first result stands.
    if (error.code !== 'BlobAlreadyExists') throw error
  }
  return name
}

/** Pins the key's version, and opens the connections before the first item needs them. */
async function warmUp() {
  const { vaultUrl, name, version } = parseKeyVaultKeyIdentifier(keyUrl)
  const keys = new KeyClient(vaultUrl, credential, vaultOptions)
  const [key] = await Promise.all([keys.getKey(name, { version }), results.exists()])
  return { key, cryptography: new CryptographyClient(key, credential, vaultOptions) }
}

/** The text of a member of a JSON object, exactly as it stands there. The object has been parsed, so it is JSON. */
function member(json, name) {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g
  let depth = 0
  let start = -1
  for (let last, match; (match = token.exec(json)); last = match[0]) {
    const found = match[0]
    if (start >= 0 && depth === 1 && (found === ',' || found === '}')) return json.slice(start, match.index).trim()
    if (start < 0 && depth === 1 && found === ':' && JSON.parse(last) === name) start = token.lastIndex
    if (found === '{' || found === '[') depth += 1
    if (found === '}' || found === ']') depth -= 1
  }
  throw new Error(`the work item has no ${name}`)
}

function base64url(bytes) {
  return Buffer.from(bytes).toString('base64url')
}
