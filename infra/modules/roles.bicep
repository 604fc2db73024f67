// What the app's identity may do wherever it runs: sign, and read and write blobs. Its rights on queues are of its front door:
// host-roles.bicep, ../container/modules/roles.bicep. README.md says why each.
param appPrincipalId string
param vaultName string
param keyName string
param dataAccountName string
param resultsContainer string
param rejectedContainer string
param sourceContainers array

var roleIds = {
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  blobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
}

// Narrower than any role of Azure's: Key Vault Crypto User may encrypt, wrap and verify as well.
resource signer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'signet-signer')
  properties: {
    roleName: 'Signet signer (${uniqueString(resourceGroup().id)})'
    description: 'Reads the public part of a key and its versions, and signs with it.'
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/keys/read'
          'Microsoft.KeyVault/vaults/keys/sign/action'
        ]
        notDataActions: []
      }
    ]
    assignableScopes: [resourceGroup().id]
  }
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource key 'Microsoft.KeyVault/vaults/keys@2025-05-01' existing = {
  parent: vault
  name: keyName
}

resource dataAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: dataAccountName
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: dataAccount
  name: 'default'
}

resource results 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  parent: blobService
  name: resultsContainer
}

resource rejected 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  parent: blobService
  name: rejectedContainer
}

resource sources 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [
  for container in sourceContainers: {
    parent: blobService
    name: container
  }
]

resource keySigner 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(key.id, appPrincipalId, signer.id)
  scope: key
  properties: {
    roleDefinitionId: signer.id
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource resultsContributor 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(results.id, appPrincipalId, roleIds.blobDataContributor)
  scope: results
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.blobDataContributor)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource rejectedContributor 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejected.id, appPrincipalId, roleIds.blobDataContributor)
  scope: rejected
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.blobDataContributor)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource sourcesReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (container, i) in sourceContainers: {
    name: guid(sources[i].id, appPrincipalId, roleIds.blobDataReader)
    scope: sources[i]
    properties: {
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.blobDataReader)
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
    }
  }
]

// The bare id: the Azure CLI takes that as a role, and refuses the id of a resource in a group.
output signerRole string = signer.name
