// All that Signet needs in Azure, in a resource group of its own. README.md beside this file says what each part is for.
targetScope = 'subscription'

@description('Names the environment; the names of all resources come from it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Azure region of all resources. It must offer Flex Consumption.')
@minLength(1)
param location string

@description('The resource group; empty: rg-{environmentName}.')
param resourceGroupName string = ''

@description('Object id of the person, group or pipeline that sends items and reads results; empty: nobody but the app gets a role.')
param principalId string = ''

@description('What principalId is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param principalType string = 'User'

@description('Name of the signing key.')
param keyName string = 'signing'

@description('Kind of the signing key. The HSM kinds need the premium vault, which is chosen for them.')
@allowed(['EC', 'EC-HSM', 'RSA', 'RSA-HSM'])
param keyType string = 'EC'

@description('Curve of an EC key.')
@allowed(['P-256', 'P-384', 'P-521', 'P-256K'])
param keyCurve string = 'P-256'

@description('Bits of an RSA key.')
@allowed([2048, 3072, 4096])
param keyBits int = 3072

@description('A new version of the key is made after this time (ISO 8601, at least seven days).')
param keyRotateAfter string = 'P6M'

@description('A version of the key can sign for this time (ISO 8601, at least 28 days). It must be longer than keyRotateAfter.')
param keyExpireAfter string = 'P1Y'

@description('The work queue; the poison queue beside it is {queueName}-poison.')
@minLength(3)
@maxLength(56)
param queueName string = 'work'

@description('Container of the results.')
param resultsContainer string = 'signed'

@description('Container of the rejection records.')
param rejectedContainer string = 'rejected'

@description('Containers that items may name blobs in; they are made, and the app may read them.')
param sourceContainers array = ['uploads']

@description('Whether each new blob in the first of sourceContainers becomes a work item, by Event Grid.')
param signUploads bool = false

@description('Days for which no result can be changed or deleted; 0: no such policy. Once there is one, the container keeps it.')
@minValue(0)
@maxValue(146000)
param immutabilityDays int = 0

@description('Redundancy of the data account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param dataRedundancy string = 'Standard_ZRS'

@description('Further app settings, such as SIGNET_FORMAT and SIGNET_DEADLINE; they win over those that are set here.')
param settings object = {}

@description('Memory of an instance, in MiB.')
@allowed([512, 2048, 4096])
param instanceMemory int = 512

@description('The most instances that each function of the app may have. They share one vault and its limit.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Instances of the function `sign` that always run; 0: none, and the first item after a pause waits for a cold start.')
@minValue(0)
@maxValue(1000)
param alwaysReadyInstances int = 0

@description('Whether vault and storage are reached through a virtual network alone.')
param privateNetworking bool = false

@description('Address space of the virtual network.')
param networkPrefix string = '10.90.0.0/16'

@description('Subnet of the app within networkPrefix; its instances take addresses from it.')
param appSubnetPrefix string = '10.90.0.0/24'

@description('Subnet of the private endpoints within networkPrefix.')
param endpointSubnetPrefix string = '10.90.1.0/24'

@description('Address ranges besides the app subnet that may reach the private endpoints: senders, operators, runners.')
param clientPrefixes array = []

@description('Resource ids of the virtual networks, besides the one that is made here, in which the names of the endpoints resolve. Each must be peered, too.')
param linkedNetworks array = []

@description('Who is told of alerts, by mail; empty: they are only shown in the portal.')
param alertEmail string = ''

@description('An alert is raised when an item was older than this many minutes as it was picked up.')
@minValue(1)
param oldestMessageMinutes int = 15

@description('An alert is raised when both queues together hold more messages than this, by the hourly count.')
@minValue(1)
param backlogMessages int = 10000

@description('An alert is raised when the vault refused more calls than this within five minutes.')
@minValue(0)
param throttledCalls int = 50

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 90

var tags = { 'azd-env-name': environmentName }
var token = toLower(uniqueString(subscription().id, environmentName, location))
var appName = 'func-signet-${token}'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'signet-identity'
  scope: group
  params: {
    name: 'id-signet-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'signet-monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    retentionDays: logDays
    hasHost: true
    prelude: ''
  }
}

module vault 'modules/vault.bicep' = {
  name: 'signet-vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    keyName: keyName
    keyType: keyType
    keyCurve: keyCurve
    keyBits: keyBits
    rotateAfter: keyRotateAfter
    expireAfter: keyExpireAfter
    isPrivate: privateNetworking
    workspaceId: monitoring.outputs.workspaceId
  }
}

module data 'modules/data.bicep' = {
  name: 'signet-data'
  scope: group
  params: {
    name: 'stdata${token}'
    location: location
    tags: tags
    redundancy: dataRedundancy
    queueName: queueName
    hasPoisonQueue: true
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
    sourceContainers: sourceContainers
    immutabilityDays: immutabilityDays
    isPrivate: privateNetworking
    admitsEventGrid: signUploads
    workspaceId: monitoring.outputs.workspaceId
  }
}

module host 'modules/host.bicep' = {
  name: 'signet-host'
  scope: group
  params: {
    name: 'sthost${token}'
    location: location
    tags: tags
    packageContainer: 'packages'
    isPrivate: privateNetworking
  }
}

module roles 'modules/roles.bicep' = {
  name: 'signet-roles'
  scope: group
  params: {
    appPrincipalId: identity.outputs.principalId
    vaultName: vault.outputs.name
    keyName: keyName
    dataAccountName: data.outputs.name
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
    sourceContainers: sourceContainers
  }
}

module hostRoles 'modules/host-roles.bicep' = {
  name: 'signet-host-roles'
  scope: group
  params: {
    appPrincipalId: identity.outputs.principalId
    dataAccountName: data.outputs.name
    queueName: queueName
    hostAccountName: host.outputs.name
    applicationInsightsName: monitoring.outputs.applicationInsightsName
  }
}

module operator 'modules/operator.bicep' = if (!empty(principalId)) {
  name: 'signet-operator'
  scope: group
  params: {
    principalId: principalId
    principalType: principalType
    vaultName: vault.outputs.name
    keyName: keyName
    dataAccountName: data.outputs.name
    queueName: queueName
    hasPoisonQueue: true
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'signet-network'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    addressPrefix: networkPrefix
    appSubnetPrefix: appSubnetPrefix
    endpointSubnetPrefix: endpointSubnetPrefix
    clientPrefixes: clientPrefixes
    linkedNetworks: linkedNetworks
    vaultId: vault.outputs.id
    dataAccountId: data.outputs.id
    hostAccountId: host.outputs.id
  }
}

module app 'modules/app.bicep' = {
  name: 'signet-app'
  scope: group
  params: {
    name: appName
    planName: 'plan-signet-${token}'
    location: location
    tags: union(tags, { 'azd-service-name': 'signet' })
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    keyUri: vault.outputs.keyUri
    queueName: queueName
    queueEndpoint: data.outputs.queueEndpoint
    blobEndpoint: data.outputs.blobEndpoint
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
    sourceContainers: sourceContainers
    hostBlobEndpoint: host.outputs.blobEndpoint
    packageContainerUrl: host.outputs.packageContainerUrl
    applicationInsightsConnection: monitoring.outputs.connectionString
    settings: settings
    instanceMemory: instanceMemory
    maximumInstances: maximumInstances
    alwaysReadyInstances: alwaysReadyInstances
    subnetId: privateNetworking ? network!.outputs.appSubnetId : ''
  }
  // It can start without its roles, but would only hand items back until they are there.
  dependsOn: [roles, hostRoles]
}

module events 'modules/events.bicep' = if (signUploads && !empty(sourceContainers)) {
  name: 'signet-events'
  scope: group
  params: {
    name: 'evgt-signet-${token}'
    location: location
    tags: tags
    dataAccountName: data.outputs.name
    queueName: queueName
    container: sourceContainers[0]
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'signet-alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    email: alertEmail
    logsId: monitoring.outputs.logsId
    hasHost: true
    prelude: ''
    vaultId: vault.outputs.id
    dataAccountId: data.outputs.id
    oldestMessageMinutes: oldestMessageMinutes
    backlogMessages: backlogMessages
    throttledCalls: throttledCalls
  }
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output SIGNET_APP string = appName
// What the tool `signet` reads from the environment.
output SIGNET_KEY string = vault.outputs.keyUri
output SIGNET_QUEUE string = queueName
output SIGNET_RESULTS string = '${data.outputs.blobEndpoint}${resultsContainer}'
output SIGNET_REJECTED string = '${data.outputs.blobEndpoint}${rejectedContainer}'
output SIGNET_SOURCES string = app.outputs.sources
output WorkQueue__queueServiceUri string = data.outputs.queueEndpoint
// What a run on your own machine and role assignments need besides.
output SIGNET_VAULT string = vault.outputs.name
output SIGNET_DATA_ACCOUNT string = data.outputs.name
output SIGNET_HOST_ACCOUNT string = host.outputs.name
output SIGNET_SIGNER_ROLE string = roles.outputs.signerRole
