// Parses each query and looks up its names with Kusto's own language service: node queries.js MODULES FILE…
'use strict'

const { readFileSync } = require('node:fs')
const { basename, join } = require('node:path')

const [modules, ...files] = process.argv.slice(2)
for (const part of ['bridge.js', 'Kusto.Language.Bridge.js']) require(join(modules, '@kusto/language-service-next', part))
const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language

// As far as the queries use them: columns of Application Insights, and of the vault's audit log and the containers' in the workspace.
const tables = {
  traces: 'timestamp: datetime, message: string, severityLevel: int, customDimensions: dynamic, operation_Name: string, cloud_RoleInstance: string',
  ContainerAppConsoleLogs: 'TimeGenerated: datetime, Log: string, Stream: string, ContainerAppName: string, ContainerGroupName: string, RevisionName: string',
  AZKVAuditLogs: 'TimeGenerated: datetime, OperationName: string, HttpStatusCode: int, RequestUri: string, Identity: dynamic, CallerIpAddress: string',
}
const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(`(${columns})`).WithName(name))
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor3('logs', null, symbols, false))

function faults(text) {
  const found = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics()
  return Array.from({ length: found.Count }, (_, index) => found.getItem(index))
}

// What the service is known to refuse, lest it should have seen nothing at all.
const bad = ['traces | were timestamp > ago(1h)', 'traces | project nosuch', 'nosuch | take 1', 'traces | where message > 1h']
for (const query of bad) {
  if (faults(query).length === 0) throw new Error(`no fault was found in: ${query}`)
}

let count = 0
for (const file of files) {
  const text = readFileSync(file, 'utf8')
  for (const fault of faults(text)) {
    const line = text.slice(0, fault.Start).split('\n').length
    console.error(`${basename(file)}:${line}: ${fault.Code} ${fault.Message}`)
    count += 1
  }
}
console.log(`${files.length} queries, ${count} faults`)
process.exitCode = count === 0 && files.length > 0 ? 0 : 1
