// Tokens of one service account of a cluster are taken for an identity.
param identityName string
param issuer string
param subject string
param audience string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource credential 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: identity
  name: 'kubernetes'
  properties: {
    issuer: issuer
    subject: subject
    audiences: [audience]
  }
}
