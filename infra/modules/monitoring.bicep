// Logs, and the workbook that reads them. Telemetry is taken from Entra identities alone.
param token string
param location string
param tags object
param retentionDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-signet-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-signet-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
    IngestionMode: 'LogAnalytics'
  }
}

// A line for each query: what it is called, and its text.
var panels = [
  { title: 'Items by outcome', query: loadTextContent('../queries/pace.kql'), view: 'timechart' }
  { title: 'The item {Item}', query: replace(loadTextContent('../queries/item.kql'), 'invoices/2026/0042', '{Item}'), view: 'table' }
  { title: 'The slowest items', query: loadTextContent('../queries/slow.kql'), view: 'table' }
  { title: 'Why items were handed back', query: loadTextContent('../queries/setbacks.kql'), view: 'table' }
  { title: 'Rejections', query: loadTextContent('../queries/rejections.kql'), view: 'table' }
  { title: 'Given up by the host', query: loadTextContent('../queries/poison.kql'), view: 'table' }
  { title: 'Keys in use', query: loadTextContent('../queries/keys.kql'), view: 'table' }
  { title: 'Errors', query: loadTextContent('../queries/errors.kql'), view: 'table' }
]

var parameterItems = [
  {
    type: 9
    name: 'parameters'
    content: {
      version: 'KqlParameterItem/1.0'
      style: 'pills'
      queryType: 0
      resourceType: 'microsoft.insights/components'
      parameters: [
        {
          id: guid('signet', 'time')
          version: 'KqlParameterItem/1.0'
          name: 'Time'
          type: 4
          isRequired: true
          value: {
            durationMs: 86400000
          }
          typeSettings: {
            selectableValues: [
              { durationMs: 3600000 }
              { durationMs: 86400000 }
              { durationMs: 604800000 }
              { durationMs: 2592000000 }
            ]
          }
        }
        {
          id: guid('signet', 'item')
          version: 'KqlParameterItem/1.0'
          name: 'Item'
          label: 'Item, message or result'
          type: 1
          value: 'invoices/2026/0042'
        }
      ]
    }
  }
]

var queryItems = [
  for (panel, i) in panels: {
    type: 3
    name: 'query-${i}'
    content: {
      version: 'KqlItem/1.0'
      title: panel.title
      query: panel.query
      size: 0
      queryType: 0
      resourceType: 'microsoft.insights/components'
      visualization: panel.view
      timeContextFromParameter: 'Time'
      showExportToExcel: true
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'signet-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Signet'
    category: 'workbook'
    sourceId: applicationInsights.id
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat(parameterItems, queryItems)
      fallbackResourceIds: [applicationInsights.id]
    })
  }
}

output workspaceId string = workspace.id
output applicationInsightsId string = applicationInsights.id
output applicationInsightsName string = applicationInsights.name
// It names the resource; without a role, nothing can be sent with it.
output connectionString string = applicationInsights.properties.ConnectionString
