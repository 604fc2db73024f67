// The vault, the key that signs, and how it rotates.
param name string
param location string
param tags object
param keyName string
param keyType string
param keyCurve string
param keyBits int
param rotateAfter string
param expireAfter string
param isPrivate bool
param workspaceId string

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  // checkov:skip=CKV_AZURE_109:denied with privateNetworking; without it the app calls from addresses of Azure that no rule can name
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: endsWith(keyType, '-HSM') ? 'premium' : 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      // For this deployment itself, which makes the key. A role is needed all the same.
      bypass: 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

// A key that is there already is left as it is: a redeployment neither rotates nor changes it.
resource key 'Microsoft.KeyVault/vaults/keys@2025-05-01' = {
  // checkov:skip=CKV_AZURE_112:keyType chooses an HSM, whose keys cost more and sign at half the pace
  parent: vault
  name: keyName
  tags: tags
  properties: {
    kty: keyType
    curveName: startsWith(keyType, 'EC') ? keyCurve : null
    keySize: startsWith(keyType, 'RSA') ? keyBits : null
    keyOps: ['sign', 'verify']
    attributes: {
      enabled: true
      exportable: false
    }
    rotationPolicy: {
      attributes: {
        expiryTime: expireAfter
      }
      lifetimeActions: [
        {
          action: {
            type: 'rotate'
          }
          trigger: {
            timeAfterCreate: rotateAfter
          }
        }
        {
          action: {
            type: 'notify'
          }
          trigger: {
            timeBeforeExpiry: 'P30D'
          }
        }
      ]
    }
  }
}

// The vault's own word on every signature: who, when, with which version.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    // A table of its own (AZKVAuditLogs) in place of columns of AzureDiagnostics.
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
// Without a version, so that the handler follows the rotation.
output keyUri string = '${vault.properties.vaultUri}keys/${key.name}'
