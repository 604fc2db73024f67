// What a person has to know of. README.md says what each can and cannot see.
param token string
param location string
param tags object
param email string
@description('Application Insights with a Functions host, else the workspace.')
param logsId string
@description('Whether there is a Functions host, of whose lines some alerts are.')
param hasHost bool
@description('KQL before each query, as in monitoring.bicep.')
param prelude string
param vaultId string
param dataAccountId string
param oldestMessageMinutes int
param backlogMessages int
param throttledCalls int

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-signet-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'signet'
    enabled: true
    emailReceivers: [
      {
        name: 'mail'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var actionGroups = empty(email) ? [] : [people.id]

// Each looks at log lines: of the handler, and some of the host's own.
var handlerAlerts = [
  {
    name: 'rejections'
    title: 'Signet rejected items'
    description: 'Items that can never succeed. Each has a record in the rejected container, with its reason.'
    severity: 3
    query: loadTextContent('../queries/rejections.kql')
  }
  {
    name: 'errors'
    title: 'Signet logs errors'
    description: 'What nobody but a person can mend, such as a new key version that cannot be used.'
    severity: 2
    query: loadTextContent('../queries/errors.kql')
  }
]
var hostAlerts = [
  {
    name: 'poison'
    title: 'Signet: the host gave messages up'
    description: 'A message failed maxDequeueCount times, which takes hours: something has been broken for long.'
    severity: 1
    query: loadTextContent('../queries/poison.kql')
  }
  {
    name: 'age'
    title: 'Signet: items wait for long'
    description: 'Messages were older than the limit as they were picked up. It sees what is picked up; the backlog alert sees the rest.'
    severity: 2
    query: replace(loadTextContent('../queries/age.kql'), 'let limit = 15m;', 'let limit = ${oldestMessageMinutes}m;')
  }
]
var lineAlerts = concat(handlerAlerts, hasHost ? hostAlerts : [])

resource lines 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in lineAlerts: {
    name: 'signet-${alert.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.title
      description: alert.description
      severity: alert.severity
      enabled: true
      scopes: [logsId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      // A workspace knows the table only once there was a line.
      skipQueryValidation: !hasHost
      criteria: {
        allOf: [
          {
            query: '${prelude}${alert.query}'
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: true
      actions: {
        actionGroups: actionGroups
      }
    }
  }
]

resource throttling 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'signet-throttling-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The vault answers 429: items wait. Add a vault to SIGNET_KEY, or let fewer instances run.'
    severity: 3
    enabled: true
    scopes: [vaultId]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'throttled'
          metricNamespace: 'Microsoft.KeyVault/vaults'
          metricName: 'ServiceApiResult'
          dimensions: [
            {
              name: 'StatusCode'
              operator: 'Include'
              values: ['429']
            }
          ]
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: throttledCalls
        }
      ]
    }
    actions: [
      for id in actionGroups: {
        actionGroupId: id
      }
    ]
  }
}

// Storage counts messages once an hour, both queues together; it does not know how old they are.
resource backlog 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'signet-backlog-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Many messages are in the queues. If nothing is picked up at all, this is the alert that says so.'
    severity: 2
    enabled: true
    scopes: ['${dataAccountId}/queueServices/default']
    evaluationFrequency: 'PT15M'
    windowSize: 'PT1H'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'messages'
          metricNamespace: 'Microsoft.Storage/storageAccounts/queueServices'
          metricName: 'QueueMessageCount'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: backlogMessages
        }
      ]
    }
    actions: [
      for id in actionGroups: {
        actionGroupId: id
      }
    ]
  }
}
