// Queues and containers of the items. Nothing of the host's own is in this account.
param name string
param location string
param tags object
param redundancy string
param queueName string
param hasPoisonQueue bool
param resultsContainer string
param rejectedContainer string
param sourceContainers array
param immutabilityDays int
param isPrivate bool
param admitsEventGrid bool
param workspaceId string

var isImmutable = immutabilityDays > 0

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  // checkov:skip=CKV_AZURE_35:denied with privateNetworking; without it the app calls from addresses of Azure that no rule can name
  // checkov:skip=CKV_AZURE_206:a parameter, and replicated between zones by default
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    // Event Grid comes from outside of any network, so for it alone the firewall takes the place of the closed door.
    publicNetworkAccess: isPrivate && !admitsEventGrid ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: admitsEventGrid ? 'AzureServices' : 'None'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
    sasPolicy: {
      expirationAction: 'Block'
      sasExpirationPeriod: '00.01:00:00'
    }
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource work 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = {
  parent: queueService
  name: queueName
}

// The Functions host's, for what it gives up. Made here, since the app may not make queues.
resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = if (hasPoisonQueue) {
  parent: queueService
  name: '${queueName}-poison'
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: isImmutable
    deleteRetentionPolicy: {
      enabled: true
      days: 14
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

// Immutability is by version: the key set in `.well-known` is written anew with each new key, which a policy on the whole
// container would forbid. So a result cannot be changed, and an older key set stays as an older version.
resource results 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobService
  name: resultsContainer
  properties: {
    publicAccess: 'None'
    immutableStorageWithVersioning: isImmutable ? { enabled: true } : null
  }
}

resource retention 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2025-06-01' = if (isImmutable) {
  parent: results
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: immutabilityDays
    allowProtectedAppendWrites: false
  }
}

resource rejected 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobService
  name: rejectedContainer
  properties: {
    publicAccess: 'None'
  }
}

resource sources 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for container in sourceContainers: {
    parent: blobService
    name: container
    properties: {
      publicAccess: 'None'
    }
  }
]

// The account's own word on who wrote or deleted a blob, whatever the app says.
resource blobAudit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: blobService
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
// Both end in a slash.
output blobEndpoint string = account.properties.primaryEndpoints.blob
output queueEndpoint string = account.properties.primaryEndpoints.queue
