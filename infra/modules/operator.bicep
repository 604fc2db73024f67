// Who sends items and reads what becomes of them: the person who deploys, or the pipeline that tests the deployment.
param principalId string
param principalType string
param vaultName string
param keyName string
param dataAccountName string
param queueName string
param hasPoisonQueue bool
param resultsContainer string
param rejectedContainer string

var roleIds = {
  queueDataMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
  queueDataReader: '19e7f393-937e-4f77-808e-94535e297925'
  blobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  keyVaultReader: '21090545-7ca7-4776-b22c-e363652d74d2'
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

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' existing = {
  parent: dataAccount
  name: 'default'
}

resource work 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queueService
  name: queueName
}

resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queueService
  name: '${queueName}-poison'
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

resource workSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(work.id, principalId, roleIds.queueDataMessageSender)
  scope: work
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.queueDataMessageSender)
    principalId: principalId
    principalType: principalType
  }
}

resource workReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(work.id, principalId, roleIds.queueDataReader)
  scope: work
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.queueDataReader)
    principalId: principalId
    principalType: principalType
  }
}

resource poisonReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (hasPoisonQueue) {
  name: guid(poison.id, principalId, roleIds.queueDataReader)
  scope: poison
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.queueDataReader)
    principalId: principalId
    principalType: principalType
  }
}

resource resultsReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(results.id, principalId, roleIds.blobDataReader)
  scope: results
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.blobDataReader)
    principalId: principalId
    principalType: principalType
  }
}

resource rejectedReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejected.id, principalId, roleIds.blobDataReader)
  scope: rejected
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.blobDataReader)
    principalId: principalId
    principalType: principalType
  }
}

resource keyReader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(key.id, principalId, roleIds.keyVaultReader)
  scope: key
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.keyVaultReader)
    principalId: principalId
    principalType: principalType
  }
}
