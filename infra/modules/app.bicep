// The function app: Flex Consumption, the runtime `custom`, and every setting that it takes.
param name string
param planName string
param location string
param tags object
param identityId string
param identityClientId string
param keyUri string
param queueName string
param queueEndpoint string
param blobEndpoint string
param resultsContainer string
param rejectedContainer string
param sourceContainers array
param hostBlobEndpoint string
param packageContainerUrl string
param applicationInsightsConnection string
param settings object
param instanceMemory int
param maximumInstances int
param alwaysReadyInstances int
param subnetId string

// Each container's URL, separated by commas.
var sources = empty(sourceContainers) ? '' : '${blobEndpoint}${join(sourceContainers, ',${blobEndpoint}')}'

// FC1 runs Linux on x64 alone.
resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  // checkov:skip=CKV_AZURE_225:messages wait in the queue while a zone is away; not every region of Flex Consumption has zones
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_17:no function of it has an HTTP trigger
  // checkov:skip=CKV_AZURE_18:no function of it has an HTTP trigger
  // checkov:skip=CKV_AZURE_67:no function of it has an HTTP trigger
  // checkov:skip=CKV_AZURE_213:no function of it has an HTTP trigger
  // checkov:skip=CKV_AZURE_78:Flex Consumption has no FTP, and its password is refused below
  // checkov:skip=CKV_AZURE_212:Flex Consumption scales by itself; alwaysReadyInstances is the minimum
  // checkov:skip=CKV_AZURE_222:deployments come to it from outside, with Entra tokens
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
    }
    functionAppConfig: {
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemory
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReadyInstances == 0 ? [] : [
          {
            name: 'function:sign'
            instanceCount: alwaysReadyInstances
          }
        ]
      }
    }
  }
}

// Everything is deployed with Entra tokens: no publishing passwords.
resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  // checkov:skip=CKV_AZURE_13:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_63:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_65:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_66:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_80:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_88:these are an app's settings, which the check takes for a site's configuration
  // checkov:skip=CKV_AZURE_222:these are an app's settings, which the check takes for a site's configuration
  parent: app
  name: 'appsettings'
  properties: union({
    AzureWebJobsStorage__blobServiceUri: hostBlobEndpoint
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    WorkQueue__queueServiceUri: queueEndpoint
    WorkQueue__credential: 'managedidentity'
    WorkQueue__clientId: identityClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnection
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    AZURE_CLIENT_ID: identityClientId
    AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
    SIGNET_KEY: keyUri
    SIGNET_QUEUE: queueName
    SIGNET_RESULTS: '${blobEndpoint}${resultsContainer}'
    SIGNET_REJECTED: '${blobEndpoint}${rejectedContainer}'
    SIGNET_SOURCES: sources
  }, settings)
}

output name string = app.name
output sources string = sources
