// The container app: nobody can call it, and its replicas follow the queue.
param name string
param environmentName string
param location string
param tags object
param identityId string
param identityClientId string
param scalerIdentityId string
param registryIdentityId string
param registryServer string
param image string
param keyUri string
param dataAccountName string
param queueName string
param queueEndpoint string
param resultsUrl string
param rejectedUrl string
param sources string
param settings object
param concurrency int
param gracePeriod int
param minimumReplicas int
param maximumReplicas int
param subnetId string
param workspaceId string

// What KEDA calls the clouds.
var clouds = {
  AzureCloud: 'AzurePublicCloud'
  AzureUSGovernment: 'AzureUSGovernmentCloud'
  AzureChinaCloud: 'AzureChinaCloud'
}

var given = union({
  AZURE_CLIENT_ID: identityClientId
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
  WorkQueue__queueServiceUri: queueEndpoint
  SIGNET_KEY: keyUri
  SIGNET_QUEUE: queueName
  SIGNET_RESULTS: resultsUrl
  SIGNET_REJECTED: rejectedUrl
  SIGNET_SOURCES: sources
  SIGNET_CONCURRENCY: string(concurrency)
  SIGNET_DRAIN: string(gracePeriod - 10)
}, settings)

resource surroundings 'Microsoft.App/managedEnvironments@2025-07-01' = {
  name: environmentName
  location: location
  tags: tags
  properties: {
    // By the diagnostic setting below. The other way to the workspace takes its shared key, which is off.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    vnetConfiguration: empty(subnetId) ? null : {
      infrastructureSubnetId: subnetId
      internal: true
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: surroundings
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
      '${scalerIdentityId}': {}
      '${registryIdentityId}': {}
    }
  }
  properties: {
    environmentId: surroundings.id
    workloadProfileName: 'Consumption'
    configuration: {
      // No ingress: nothing from outside comes in, and probes need none.
      activeRevisionsMode: 'Single'
      registries: [
        {
          server: registryServer
          identity: registryIdentityId
        }
      ]
      // The platform counts and pulls with the two others, which the container cannot become.
      identitySettings: [
        {
          identity: identityId
          lifecycle: 'Main'
        }
        {
          identity: scalerIdentityId
          lifecycle: 'None'
        }
        {
          identity: registryIdentityId
          lifecycle: 'None'
        }
      ]
    }
    template: {
      // SIGNET_DRAIN and ten seconds: what is in flight is finished or handed back by then.
      terminationGracePeriodSeconds: gracePeriod
      containers: [
        {
          name: 'signet'
          image: '${registryServer}/${image}'
          args: ['pull']
          env: [
            for setting in items(given): {
              name: setting.key
              value: setting.value
            }
          ]
          // The least that there is.
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
          probes: [
            {
              type: 'Liveness'
              httpGet: {
                path: '/live'
                port: 8080
              }
              periodSeconds: 10
              timeoutSeconds: 3
              failureThreshold: 3
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/ready'
                port: 8080
              }
              periodSeconds: 5
              timeoutSeconds: 3
              failureThreshold: 3
            }
          ]
        }
      ]
      scale: {
        minReplicas: minimumReplicas
        maxReplicas: maximumReplicas
        pollingInterval: 15
        // After the last message. Messages that are being worked on, or wait for their next try, count as there.
        cooldownPeriod: 300
        rules: [
          {
            name: 'queue'
            custom: {
              type: 'azure-queue'
              metadata: {
                accountName: dataAccountName
                queueName: queueName
                // Messages for each replica: as many as one works on at once.
                queueLength: string(concurrency)
                cloud: clouds[environment().name]
              }
              identity: scalerIdentityId
            }
          }
        ]
      }
    }
  }
}

output name string = app.name
