// Logs, and the workbook that reads them. Telemetry is taken from Entra identities alone.
param token string
param location string
param tags object
param retentionDays int
@description('Whether a Functions host sends its lines to Application Insights. Otherwise they are in the workspace itself.')
param hasHost bool
@description('KQL before each query: makes of other lines a table `traces`. Empty with a Functions host, whose table that is.')
param prelude string

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

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = if (hasHost) {
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

// Where the lines are, and what that is to a workbook.
var logsId = hasHost ? applicationInsights.id : workspace.id
var logsType = hasHost ? 'microsoft.insights/components' : 'microsoft.operationalinsights/workspaces'

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
      resourceType: logsType
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
      query: '${prelude}${panel.query}'
      size: 0
      queryType: 0
      resourceType: logsType
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
    sourceId: logsId
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat(parameterItems, queryItems)
      fallbackResourceIds: [logsId]
    })
  }
}

output workspaceId string = workspace.id
// Where alerts look for lines.
output logsId string = logsId
// Empty without a host.
output applicationInsightsName string = hasHost ? applicationInsights.name : ''
// It names the resource; without a role, nothing can be sent with it.
output connectionString string = hasHost ? applicationInsights!.properties.ConnectionString : ''
