// Placeholder until the first file of KVServer lands.
