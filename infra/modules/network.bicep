// Vault and storage by private endpoints alone, and the app in the network that they are in.
param token string
param location string
param tags object
param addressPrefix string
param appSubnetPrefix string
param endpointSubnetPrefix string
param clientPrefixes array
param linkedNetworks array
param vaultId string
param dataAccountId string
@description('The account of the Functions host; empty: there is none.')
param hostAccountId string

// The names of the zones follow from the cloud's own suffixes; the vault's suffix begins with a dot.
var blobZone = 'privatelink.blob.${environment().suffixes.storage}'
var queueZone = 'privatelink.queue.${environment().suffixes.storage}'
var vaultZone = 'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
var zoneNames = [blobZone, queueZone, vaultZone]

// `zone` is the index in zoneNames.
var targets = concat([
  { name: 'data-blob', id: dataAccountId, part: 'blob', zone: 0 }
  { name: 'data-queue', id: dataAccountId, part: 'queue', zone: 1 }
  { name: 'vault', id: vaultId, part: 'vault', zone: 2 }
], empty(hostAccountId) ? [] : [
  { name: 'host-blob', id: hostAccountId, part: 'blob', zone: 0 }
])

// Senders, operators and runners. A rule without any source is refused, so without them there is none.
var clients = empty(clientPrefixes) ? [] : [
  {
    name: 'clients'
    properties: {
      priority: 110
      direction: 'Inbound'
      access: 'Allow'
      protocol: 'Tcp'
      sourceAddressPrefixes: clientPrefixes
      sourcePortRange: '*'
      destinationAddressPrefix: endpointSubnetPrefix
      destinationPortRange: '443'
    }
  }
]

// What has no private endpoint (Application Insights, the host's extension bundle, a registry) is reached from one known address.
resource address 'Microsoft.Network/publicIPAddresses@2025-05-01' = {
  name: 'pip-signet-${token}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource egress 'Microsoft.Network/natGateways@2025-05-01' = {
  name: 'ng-signet-${token}'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

resource appRules 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-signet-app-${token}'
  location: location
  tags: tags
}

resource endpointRules 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-signet-endpoints-${token}'
  location: location
  tags: tags
  properties: {
    securityRules: concat([
      {
        name: 'app'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: appSubnetPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: endpointSubnetPrefix
          destinationPortRange: '443'
        }
      }
      {
        name: 'nobody-else'
        properties: {
          priority: 200
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ], clients)
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: 'vnet-signet-${token}'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addressPrefix]
    }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appSubnetPrefix
          networkSecurityGroup: {
            id: appRules.id
          }
          natGateway: {
            id: egress.id
          }
          delegations: [
            {
              // Of Flex Consumption and of Container Apps alike.
              name: 'functions'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointSubnetPrefix
          defaultOutboundAccess: false
          networkSecurityGroup: {
            id: endpointRules.id
          }
          // The rules hold for private endpoints only with this.
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

resource appSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' existing = {
  parent: network
  name: 'app'
}

resource endpointSubnet 'Microsoft.Network/virtualNetworks/subnets@2025-05-01' existing = {
  parent: network
  name: 'endpoints'
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, i) in zoneNames: {
    parent: zones[i]
    name: 'signet'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

// Each of the other networks with each zone. The name must differ for each network of a zone.
resource otherLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for i in range(0, length(zoneNames) * length(linkedNetworks)): {
    parent: zones[i % length(zoneNames)]
    name: 'client-${uniqueString(linkedNetworks[i / length(zoneNames)])}'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: linkedNetworks[i / length(zoneNames)]
      }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for target in targets: {
    name: 'pe-signet-${target.name}-${token}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: endpointSubnet.id
      }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            privateLinkServiceId: target.id
            groupIds: [target.part]
          }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (target, i) in targets: {
    parent: endpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: target.part
          properties: {
            privateDnsZoneId: zones[target.zone].id
          }
        }
      ]
    }
  }
]

// Known once all of this module is there: an app that came before the DNS records would look for public addresses.
output appSubnetId string = appSubnet.id
