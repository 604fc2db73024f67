// The two rights on the work queue, each of an identity of its own. Both are narrower than any role of Azure's. README.md says why each.
param appPrincipalId string
param scalerPrincipalId string
param dataAccountName string
param queueName string

// Storage Queue Data Message Processor may receive and delete, but not renew its hold on a message or let go of it: both are updates.
// Storage Queue Data Contributor may also clear, delete and make queues.
resource puller 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'signet-puller')
  properties: {
    roleName: 'Signet puller (${uniqueString(resourceGroup().id)})'
    description: 'Receives, updates and deletes messages of a queue.'
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action'
          'Microsoft.Storage/storageAccounts/queueServices/queues/messages/write'
        ]
        notDataActions: []
      }
    ]
    assignableScopes: [resourceGroup().id]
  }
}

// Storage Queue Data Reader may also read the messages. Metadata of a queue is an action, not a data action.
resource counter 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'signet-counter')
  properties: {
    roleName: 'Signet counter (${uniqueString(resourceGroup().id)})'
    description: 'Reads how many messages a queue has.'
    type: 'CustomRole'
    permissions: [
      {
        actions: ['Microsoft.Storage/storageAccounts/queueServices/queues/read']
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [resourceGroup().id]
  }
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

resource workPuller 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(work.id, appPrincipalId, puller.id)
  scope: work
  properties: {
    roleDefinitionId: puller.id
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource workCounter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(work.id, scalerPrincipalId, counter.id)
  scope: work
  properties: {
    roleDefinitionId: counter.id
    principalId: scalerPrincipalId
    principalType: 'ServicePrincipal'
  }
}
