// Signet without a Functions host: a container that pulls the queue itself, on Azure Container Apps or on a cluster of yours. README.md
// beside this file says how. What is the same wherever it runs comes from ../modules.
targetScope = 'subscription'

@description('Names the environment; the names of all resources come from it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Azure region of all resources.')
@minLength(1)
param location string

@description('The resource group; empty: rg-{environmentName}.')
param resourceGroupName string = ''

@description('The image in the registry, without its server: repository@digest. Needed on Container Apps.')
param image string = ''

@description('Name of the container registry, which is there already. Needed on Container Apps.')
param registryName string = ''

@description('The resource group of the registry; empty: the one of this deployment.')
param registryResourceGroup string = ''

@description('OIDC issuer of a Kubernetes cluster that runs it; empty: Container Apps do.')
param clusterIssuer string = ''

@description('Service account of the pods, as namespace:name.')
param clusterAccount string = 'signet:signet'

@description('Service account of the operator of KEDA, as namespace:name; this is the one of the AKS add-on.')
param kedaAccount string = 'kube-system:keda-operator'

@description('Who tokens of the cluster must be for. Sovereign clouds have their own.')
param tokenAudience string = 'api://AzureADTokenExchange'

@description('Object id of who sends items and reads results; empty: nobody but the app gets a role.')
param principalId string = ''

@description('What principalId is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param principalType string = 'User'

@description('Kind of the signing key. The HSM kinds take the premium vault.')
@allowed(['EC', 'EC-HSM', 'RSA', 'RSA-HSM'])
param keyType string = 'EC'

@description('Curve of an EC key.')
@allowed(['P-256', 'P-384', 'P-521', 'P-256K'])
param keyCurve string = 'P-256'

@description('Bits of an RSA key.')
@allowed([2048, 3072, 4096])
param keyBits int = 3072

@description('The work queue. There is no poison queue.')
@minLength(3)
@maxLength(56)
param queueName string = 'work'

@description('Containers that items may name blobs in; they are made, and the app may read them.')
param sourceContainers array = ['uploads']

@description('Days for which no result can be changed or deleted; 0: no such policy.')
@minValue(0)
@maxValue(146000)
param immutabilityDays int = 0

@description('Redundancy of the data account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param dataRedundancy string = 'Standard_ZRS'

@description('Further settings, such as SIGNET_FORMAT and OTEL_EXPORTER_OTLP_ENDPOINT; they win over those that are set here.')
param settings object = {}

@description('Items that a replica works on at once, and messages that there are for each replica.')
@minValue(1)
@maxValue(10000)
param concurrency int = 64

@description('Seconds that a replica has to end. SIGNET_DRAIN is ten less, unless the settings name it.')
@minValue(10)
@maxValue(600)
param gracePeriod int = 30

@description('Replicas that always run; 0: none while the queue is empty.')
@minValue(0)
@maxValue(1000)
param minimumReplicas int = 0

@description('The most replicas. They share one vault and its limit.')
@minValue(1)
@maxValue(1000)
param maximumReplicas int = 10

@description('Whether vault and storage are reached through a virtual network alone.')
param privateNetworking bool = false

@description('Address space of the virtual network.')
param networkPrefix string = '10.90.0.0/16'

@description('Subnet of the replicas within networkPrefix.')
param appSubnetPrefix string = '10.90.0.0/24'

@description('Subnet of the private endpoints within networkPrefix.')
param endpointSubnetPrefix string = '10.90.1.0/24'

@description('Address ranges besides the app subnet that may reach the private endpoints: senders, operators, the nodes and pods of a cluster.')
param clientPrefixes array = []

@description('Resource ids of further virtual networks in which the names of the endpoints resolve. Each must be peered, too.')
param linkedNetworks array = []

@description('Who is told of alerts, by mail; empty: they are only shown in the portal.')
param alertEmail string = ''

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 90

var tags = { 'signet-environment': environmentName }
var token = toLower(uniqueString(subscription().id, environmentName, location))
var isOnContainerApps = empty(clusterIssuer)
var keyName = 'signing'
var resultsContainer = 'signed'
var rejectedContainer = 'rejected'
var prelude = loadTextContent('lines.kql')

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
  location: location
  tags: tags
}

// Who signs.
module identity '../modules/identity.bicep' = {
  name: 'signet-identity'
  scope: group
  params: {
    name: 'id-signet-${token}'
    location: location
    tags: tags
  }
}

// Who counts messages, and can do nothing else.
module scaler '../modules/identity.bicep' = {
  name: 'signet-scaler'
  scope: group
  params: {
    name: 'id-signet-scaler-${token}'
    location: location
    tags: tags
  }
}

// Who fetches the image, and can do nothing else. A cluster's nodes have an identity for that.
module fetcher '../modules/identity.bicep' = if (isOnContainerApps) {
  name: 'signet-fetcher'
  scope: group
  params: {
    name: 'id-signet-fetcher-${token}'
    location: location
    tags: tags
  }
}

module monitoring '../modules/monitoring.bicep' = {
  name: 'signet-monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    retentionDays: logDays
    hasHost: false
    prelude: prelude
  }
}

module vault '../modules/vault.bicep' = {
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
    rotateAfter: 'P6M'
    expireAfter: 'P1Y'
    isPrivate: privateNetworking
    workspaceId: monitoring.outputs.workspaceId
  }
}

module data '../modules/data.bicep' = {
  name: 'signet-data'
  scope: group
  params: {
    name: 'stdata${token}'
    location: location
    tags: tags
    redundancy: dataRedundancy
    queueName: queueName
    hasPoisonQueue: false
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
    sourceContainers: sourceContainers
    immutabilityDays: immutabilityDays
    isPrivate: privateNetworking
    admitsEventGrid: false
    workspaceId: monitoring.outputs.workspaceId
  }
}

module roles '../modules/roles.bicep' = {
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

module queueRoles 'modules/roles.bicep' = {
  name: 'signet-queue-roles'
  scope: group
  params: {
    appPrincipalId: identity.outputs.principalId
    scalerPrincipalId: scaler.outputs.principalId
    dataAccountName: data.outputs.name
    queueName: queueName
  }
}

module operator '../modules/operator.bicep' = if (!empty(principalId)) {
  name: 'signet-operator'
  scope: group
  params: {
    principalId: principalId
    principalType: principalType
    vaultName: vault.outputs.name
    keyName: keyName
    dataAccountName: data.outputs.name
    queueName: queueName
    hasPoisonQueue: false
    resultsContainer: resultsContainer
    rejectedContainer: rejectedContainer
  }
}

module network '../modules/network.bicep' = if (privateNetworking) {
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
    hostAccountId: ''
  }
}

module registry 'modules/registry.bicep' = if (isOnContainerApps) {
  name: 'signet-registry'
  scope: resourceGroup(empty(registryResourceGroup) ? group.name : registryResourceGroup)
  params: {
    name: registryName
    principalId: fetcher!.outputs.principalId
  }
}

// Each container's URL, separated by commas.
var blobEndpoint = data.outputs.blobEndpoint
var sources = empty(sourceContainers) ? '' : '${blobEndpoint}${join(sourceContainers, ',${blobEndpoint}')}'

module app 'modules/app.bicep' = if (isOnContainerApps) {
  name: 'signet-app'
  scope: group
  params: {
    name: 'ca-signet-${token}'
    environmentName: 'cae-signet-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    scalerIdentityId: scaler.outputs.id
    registryIdentityId: fetcher!.outputs.id
    registryServer: registry!.outputs.server
    image: image
    keyUri: vault.outputs.keyUri
    dataAccountName: data.outputs.name
    queueName: queueName
    queueEndpoint: data.outputs.queueEndpoint
    resultsUrl: '${blobEndpoint}${resultsContainer}'
    rejectedUrl: '${blobEndpoint}${rejectedContainer}'
    sources: sources
    settings: settings
    concurrency: concurrency
    gracePeriod: gracePeriod
    minimumReplicas: minimumReplicas
    maximumReplicas: maximumReplicas
    subnetId: privateNetworking ? network!.outputs.appSubnetId : ''
    workspaceId: monitoring.outputs.workspaceId
  }
  // It can start without its roles, but would only hand items back until they are there.
  dependsOn: [roles, queueRoles]
}

module podFederation 'modules/federation.bicep' = if (!isOnContainerApps) {
  name: 'signet-pod-federation'
  scope: group
  params: {
    identityName: identity.outputs.name
    issuer: clusterIssuer
    subject: 'system:serviceaccount:${clusterAccount}'
    audience: tokenAudience
  }
}

module scalerFederation 'modules/federation.bicep' = if (!isOnContainerApps) {
  name: 'signet-scaler-federation'
  scope: group
  params: {
    identityName: scaler.outputs.name
    issuer: clusterIssuer
    subject: 'system:serviceaccount:${kedaAccount}'
    audience: tokenAudience
  }
}

module alerts '../modules/alerts.bicep' = {
  name: 'signet-alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    email: alertEmail
    logsId: monitoring.outputs.logsId
    hasHost: false
    prelude: prelude
    vaultId: vault.outputs.id
    dataAccountId: data.outputs.id
    oldestMessageMinutes: 15
    backlogMessages: 10000
    throttledCalls: 50
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output SIGNET_APP string = isOnContainerApps ? app!.outputs.name : ''
// What the tool `signet` reads from the environment, and the pods of a cluster.
output SIGNET_KEY string = vault.outputs.keyUri
output SIGNET_QUEUE string = queueName
output SIGNET_RESULTS string = '${blobEndpoint}${resultsContainer}'
output SIGNET_REJECTED string = '${blobEndpoint}${rejectedContainer}'
output SIGNET_SOURCES string = sources
output WorkQueue__queueServiceUri string = data.outputs.queueEndpoint
// What the manifests of a cluster need besides.
output SIGNET_CLIENT_ID string = identity.outputs.clientId
output SCALER_CLIENT_ID string = scaler.outputs.clientId
output SIGNET_DATA_ACCOUNT string = data.outputs.name
